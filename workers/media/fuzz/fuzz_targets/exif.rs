#![no_main]

libfuzzer_sys::fuzz_target!(init: mediamill_media_fuzz::listen(), |data: &[u8]| mediamill_media_fuzz::hold("exif", data));
