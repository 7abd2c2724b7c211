//! The catalog alone, without ingestion: `cargo run -p laked-catalog --example serve DIR [ADDRESS]`.

use std::path::PathBuf;

use laked_catalog::store::{Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Database, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which directory? serve DIR [ADDRESS]")?);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8181".into());
    let store = Store::local(System::real(), folder.join("staging"))?;
    let settings = Settings {
        database: Database::File(folder.join("catalog.db")),
        warehouse: location_of(&std::path::absolute(folder.join("warehouse"))?)?,
    };
    let catalog = Catalog::open(settings, store)?;
    let listener = tokio::net::TcpListener::bind(&address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, laked_catalog::rest::router(catalog)).await?;
    Ok(())
}
