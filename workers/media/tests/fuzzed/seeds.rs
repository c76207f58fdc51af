//! Small inputs to begin fuzzing with: every format in every kind that an encoder here makes, and what files give away.

use crate::{
    dirty::{dirty, exif, photoshop, xmp},
    drawn::{ApngFrame, GifFrame, Png, WebpFrame, apng, bmp, chunk, gif, quarters, tiff, webp},
    heif,
};
use image::{DynamicImage, ImageFormat};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use mediamill_media::{Fit, Format, Output, Settings, Variant, process};
use std::io::Cursor;

/// An input of a fuzz target.
pub(crate) struct Seed {
    pub(crate) target: &'static str,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

const WIDTH: u16 = 12;
const HEIGHT: u16 = 9;

/// All of them.
pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes: &[u8]| {
        seeds.push(Seed {
            target,
            name: name.to_owned(),
            bytes: bytes.to_vec(),
        });
    };
    for (number, (format, bytes)) in files().into_iter().enumerate() {
        let name = format!("{}-{number}", format.name());
        add(format.name(), &name, &bytes);
        add("probe", &name, &bytes);
        if format == Format::Avif {
            add("avif_pixels", &name, &bytes);
            continue;
        }
        add("frames", &name, &bytes);
        // What the properties read behind a file: a variant's options, and the policy.
        let options = OPTIONS[number % OPTIONS.len()];
        add("process", &name, &[&bytes[..], &options].concat());
    }
    let little = exif();
    add("exif", "little", &little);
    add("exif", "big", BIG_EXIF);
    add(
        "exif",
        "orientation",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
    );
    add("xmp", "attributes", xmp().as_bytes());
    add("xmp", "elements", XMP_ELEMENTS.as_bytes());
    let resources = photoshop();
    add("iptc", "resources", &resources);
    add("iptc", "records", &resources[12..]);
    add("items", "still", &heif::items(false, 0));
    add("items", "inside", &heif::items(true, 0));
    seeds
}

/// Flags, form, width, height, gravity, quality, colour, sharpening; policy, patience: `properties::whole` reads them.
const OPTIONS: [[u8; 12]; 9] = [
    [0, 0, 8, 8, 125, 125, 80, 0, 0, 0, 0, 0],
    [0, 2, 5, 9, 0, 250, 0, 0, 0, 40, 1, 0],
    [6, 4 << 2, 30, 0, 0, 0, 60, 0, 0, 0, 2, 0],
    [8, 0, 6, 0, 0, 0, 70, 0, 0, 0, 0, 0],
    [8, 6 << 2, 6, 6, 0, 0, 0, 0, 0, 0, 3, 0],
    [8, 5 << 2 | 3, 9, 12, 0, 0, 0, 0, 0, 0, 0, 0],
    [24, 4 << 2 | 2, 4, 4, 9, 200, 50, 255, 128, 10, 0, 0],
    [16, 3 << 2 | 3, 20, 20, 0, 0, 0, 1, 2, 0, 0, 0],
    [1, 2 << 2, 2, 0, 0, 0, 90, 0, 0, 100, 1 << 3, 3],
];

/// The same in the other byte order: model, orientation and a position.
const BIG_EXIF: &[u8] = b"MM\0*\0\0\0\x08\0\x03\x01\x10\0\x02\0\0\0\x08\0\0\0\x32\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\
    \x88\x25\0\x04\0\0\0\x01\0\0\0\x3a\0\0\0\0Camera \0\0\x02\0\x01\0\x02\0\0\0\x02N\0\0\0\0\x02\0\x05\0\0\0\x03\0\0\0\x58\
    \0\0\0\0\0\0\0\x2e\0\0\0\x01\0\0\0\x1b\0\0\0\x01\0\0\0\x07\0\0\0\x02";

const XMP_ELEMENTS: &str = "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>\
    <r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><r:Description r:about='' \
    xmlns:e='http://ns.adobe.com/exif/1.0/' xmlns:i='http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/' \
    xmlns:dc='http://purl.org/dc/elements/1.1/'><e:GPSLatitude>46,27.05N</e:GPSLatitude>\
    <e:GPSLongitude>7,51.7E</e:GPSLongitude><i:Location><![CDATA[PLACE]]></i:Location><!-- PLACE -->\
    <dc:subject><r:Bag><r:li>a &amp; b</r:li></r:Bag></dc:subject></r:Description></r:RDF></x:xmpmeta><?xpacket end='w'?>";

/// Whole files.
fn files() -> Vec<(Format, Vec<u8>)> {
    let mut files = Vec::new();
    for (format, made) in [
        (Format::Jpeg, jpegs()),
        (Format::Png, pngs()),
        (Format::WebP, webps()),
        (Format::Gif, gifs()),
        (Format::Avif, avifs()),
        (Format::Bmp, bmps()),
        (Format::Tiff, tiffs()),
    ] {
        files.extend(made.into_iter().map(|bytes| (format, bytes)));
    }
    files
}

fn picture() -> DynamicImage {
    quarters(WIDTH.into(), HEIGHT.into()).into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// What the engine's own encoders make.
fn made(output: Output) -> Vec<u8> {
    let mut variant = Variant::new("seed", Some(WIDTH.into()), None, Fit::Inside);
    variant.output = output;
    let settings = Settings {
        variants: vec![variant],
        ..Settings::default()
    };
    let source = encoded(&picture(), ImageFormat::Png);
    process(&source, &settings, &|| false).unwrap().variants.remove(0).bytes
}

fn jpegs() -> Vec<Vec<u8>> {
    let rgb = picture().into_rgb8();
    let grey = picture().into_luma8();
    let inks: Vec<u8> = rgb.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2], 200]).collect();
    let encode = |colours, samples: &[u8], adapt: &dyn Fn(&mut Encoder<&mut Vec<u8>>)| {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, 70);
        adapt(&mut encoder);
        encoder.encode(samples, WIDTH, HEIGHT, colours).unwrap();
        out
    };
    vec![
        encode(ColorType::Rgb, &rgb, &|_| {}),
        encode(ColorType::Rgb, &rgb, &|encoder| encoder.set_progressive(true)),
        encode(ColorType::Rgb, &rgb, &|encoder| {
            encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
            encoder.set_restart_interval(1);
        }),
        // A scan for each component.
        encode(ColorType::Rgb, &rgb, &|encoder| {
            encoder.set_optimized_huffman_tables(true);
        }),
        encode(ColorType::Luma, &grey, &|_| {}),
        encode(ColorType::CmykAsYcck, &inks, &|_| {}),
        encode(ColorType::Cmyk, &inks, &|encoder| encoder.set_progressive(true)),
        include_bytes!("../files/interleaved-440.jpg").to_vec(),
        dirty(Format::Jpeg),
    ]
}

fn pngs() -> Vec<Vec<u8>> {
    let mut made = Vec::new();
    for (colour, depth, interlaced) in [
        (0, 1, true),
        (0, 16, false),
        (2, 8, false),
        (3, 4, true),
        (4, 8, false),
        (6, 16, true),
    ] {
        let mut png = Png::new(WIDTH.into(), HEIGHT.into(), depth, colour);
        png.interlaced = interlaced;
        match colour {
            0 => png.chunks.push((*b"tRNS", vec![0, 1])),
            3 => png
                .chunks
                .extend([(*b"PLTE", [9, 99, 200].repeat(8)), (*b"tRNS", vec![255, 128])]),
            _ => png.chunks.push((*b"sRGB", vec![0])),
        }
        made.push(png.file(&|x, y, _| u16::try_from((x ^ y) & 1).unwrap()));
    }
    let still = |place, dispose| ApngFrame {
        place,
        delay: 40,
        dispose,
        blend: dispose,
        colour: [9, 99, 200, 128],
    };
    let (width, height) = (WIDTH.into(), HEIGHT.into());
    let frames = [still([0, 0, width, height], 0), still([2, 1, 5, 6], 1)];
    made.push(apng(width, height, 3, &frames));
    made.push(dirty(Format::Png));
    let mut short = Png::new(4, 3, 8, 0);
    short.chunks.push((*b"cICP", vec![12, 13, 0, 1]));
    let whole = short.file(&|x, _, _| u16::try_from(x).unwrap());
    // Behind the pixels, where some programs write.
    let (body, end) = whole.split_at(whole.len() - 12);
    made.push(
        [
            body,
            &chunk(*b"eXIf", &exif()),
            &chunk(*b"zTXt", b"Comment\0\0\x78\x9c\x03\0\0\0\0\x01"),
            end,
        ]
        .concat(),
    );
    made
}

fn webps() -> Vec<Vec<u8>> {
    let frame = |place, clear| WebpFrame {
        place,
        delay: 40,
        blend: clear,
        clear,
        colour: [9, 99, 200, 128],
    };
    let (width, height) = (WIDTH.into(), HEIGHT.into());
    vec![
        made(Output::Webp),
        made(Output::WebpLossless),
        encoded(&picture(), ImageFormat::WebP),
        webp(
            width,
            height,
            2,
            &[frame([0, 0, width, height], false), frame([2, 4, 5, 3], true)],
        ),
        include_bytes!("../files/lossy-alpha.webp").to_vec(),
        dirty(Format::WebP),
    ]
}

fn gifs() -> Vec<Vec<u8>> {
    let frame = |place, dispose, colour| GifFrame {
        place,
        delay: 4,
        dispose,
        colour,
    };
    let frames = [
        frame([0, 0, WIDTH, HEIGHT], 1, 1),
        frame([2, 1, 5, 6], 3, 2),
        frame([1, 1, 4, 4], 2, 3),
    ];
    vec![
        gif(WIDTH, HEIGHT, Some(2), &frames),
        gif(WIDTH, HEIGHT, None, &frames[1..2]),
        made(Output::Gif),
        dirty(Format::Gif),
    ]
}

fn avifs() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../files/8-bit-420.avif").to_vec(),
        include_bytes!("../files/10-bit-444-bt2020.avif").to_vec(),
        include_bytes!("../files/alpha-premultiplied.avif").to_vec(),
        heif::file(false),
        heif::file(true),
    ]
}

fn bmps() -> Vec<Vec<u8>> {
    let rgb = picture().into_rgb8();
    // Runs of eight-bit pixels, and an end.
    let mut runs = b"BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0\x04\0\0\0\x02\0\0\0\x01\0\x08\0\x01\0\0\0".to_vec();
    runs.extend([
        0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 90, 80, 70, 0,
    ]);
    runs.extend([4, 1, 0, 0, 0, 3, 1, 0, 1, 0, 1, 0, 0, 1]);
    let mut profiled = bmp(124, false, &rgb);
    let (place, profile) = (profiled.len() - 14, b"a profile");
    profiled[70..74].copy_from_slice(b"DEBM");
    profiled[126..130].copy_from_slice(&u32::try_from(place).unwrap().to_le_bytes());
    profiled[130..134].copy_from_slice(&9_u32.to_le_bytes());
    profiled.extend(profile);
    let glass = DynamicImage::ImageRgba8(picture().into_rgba8());
    vec![
        bmp(12, false, &rgb),
        bmp(40, true, &rgb),
        bmp(108, false, &rgb),
        profiled,
        runs,
        encoded(&glass, ImageFormat::Bmp),
        encoded(&DynamicImage::ImageLuma8(picture().into_luma8()), ImageFormat::Bmp),
        [bmp(40, false, &rgb), b"SECRET-TAIL".to_vec()].concat(),
    ]
}

fn tiffs() -> Vec<Vec<u8>> {
    let count = usize::from(WIDTH) * usize::from(HEIGHT);
    let mut made: Vec<Vec<u8>> = [(8, 1, 1), (16, 3, 2), (8, 4, 2), (8, 4, 5)]
        .into_iter()
        .map(|(bits, samples, meaning)| {
            let pixels = vec![40; count * usize::from(samples * bits / 8)];
            tiff(WIDTH.into(), HEIGHT.into(), bits, samples, meaning, &pixels)
        })
        .collect();
    made.push(encoded(&picture(), ImageFormat::Tiff));
    made.push(dirty_tiff());
    made
}

/// A TIFF of one pixel, of deflated strips and with much beside it, its directory first.
fn dirty_tiff() -> Vec<u8> {
    let packed = miniz_oxide::deflate::compress_to_vec_zlib(&[1, 2, 3, 4, 5, 6], 6);
    let jpeg = jpegs().swap_remove(0);
    let texts: [&[u8]; 4] = [b"SECRET-MODEL\0\0", xmp().as_bytes(), &photoshop(), b"an ICC profile"];
    let entries = 14_u16;
    let values = 8 + 2 + u32::from(entries) * 12 + 4;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let place = |number: usize| values + texts[..number].iter().map(|text| length(text)).sum::<u32>();
    let strip = place(4);
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    out.extend(entries.to_le_bytes());
    for (tag, kind, count, value) in [
        (256_u16, 4_u16, 1, 1),
        (257, 4, 1, 2),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (272, 2, length(texts[0]), place(0)),
        (273, 4, 1, strip),
        (274, 3, 1, 6),
        (277, 3, 1, 1),
        (278, 4, 1, 2),
        (279, 4, 1, length(&packed)),
        (700, 1, length(texts[1]), place(1)),
        (34_377, 1, length(texts[2]), place(2)),
        (34_675, 7, length(texts[3]), place(3)),
    ] {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    // A second page lies where nothing is.
    out.extend(length(&jpeg).to_le_bytes());
    for text in texts {
        out.extend(text);
    }
    out.extend(packed);
    out.extend(b"SECRET-TAIL");
    out
}
