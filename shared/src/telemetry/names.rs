//! s
/// x
pub const RESOLVER_LOOKUPS: &str = "mediamill_resolver_lookups_total";
/// x
pub const OUTBOX_LEFT: &str = "mediamill_outbox_left_total";
