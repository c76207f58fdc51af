//! To come.
#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) async fn run(_: Args) -> anyhow::Result<()> {
    Ok(())
}
