//! Where hostile bytes are decoded.

/// Where a worker decodes pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaHelpers {
    /// In processes of their own, confined.
    Process,
    /// In the worker's process.
    Inline,
}

impl MediaHelpers {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "process" => Ok(Self::Process),
            "inline" => Ok(Self::Inline),
            _ => Err(format!("{text:?} is neither process nor inline")),
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that every value's reader has"
    )]
    pub(super) fn show(&self) -> String {
        match self {
            Self::Process => "process".to_owned(),
            Self::Inline => "inline".to_owned(),
        }
    }
}
