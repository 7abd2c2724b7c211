//! Rows a CPU-second of each decoder on glucose readings made in memory: `cargo run --release --example decode [ROWS]`.
//! Half the runs have `user_id` sorted, as devices upload; the check of the contract is counted in.
use std::sync::Arc;

use bytes::Bytes;
use laked::contract::Contract;
use laked::flow::{Format, Packing};
use laked::ingest::decode::{Input, Options, open};

type Failure = Box<dyn std::error::Error>;

fn reading(row: u64) -> (String, String, String, String, f64, [&'static str; 3]) {
    let id = row.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (day, minute) = (row % 2160 / 288 + 1, row % 288 * 5);
    let time = format!("2025-01-{day:02}T{:02}:{:02}:00Z", minute / 60, minute % 60);
    let uuid = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        id >> 32,
        id >> 16 & 0xffff,
        id & 0xfff,
        row & 0xfff,
        id >> 16
    );
    let user = row / 2160;
    let words = [["TW", "JP", "KR", "SG"][(user % 4) as usize], "cgm", ["flat", "up", "down"][(id >> 40) as usize % 3]];
    (uuid, format!("u{user:06}"), format!("dev-{user:06}"), time, 70.0 + (id % 1500) as f64 / 10.0, words)
}

fn ndjson(rows: u64, space: &str) -> Bytes {
    let mut text = String::new();
    for row in 0..rows {
        let (id, user, device, time, value, [country, source, trend]) = reading(row);
        text += &format!(
            "{{\"reading_id\":{space}\"{id}\",{space}\"user_id\":{space}\"{user}\",{space}\"device_id\":{space}\"{device}\",\
             {space}\"timestamp\":{space}\"{time}\",{space}\"glucose_mg_dl\":{space}{value},{space}\"country\":{space}\"{country}\",\
             {space}\"source\":{space}\"{source}\",{space}\"trend\":{space}\"{trend}\"}}\n"
        );
    }
    text.into()
}

fn csv(rows: u64) -> Bytes {
    let mut text = "reading_id,user_id,device_id,timestamp,glucose_mg_dl,country,source,trend\n".to_owned();
    for row in 0..rows {
        let (id, user, device, time, value, words) = reading(row);
        text += &format!("{id},{user},{device},{time},{value},{}\n", words.join(","));
    }
    text.into()
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn run(name: &str, contract: &Arc<Contract>, format: Format, bytes: &Bytes) -> Result<(), Failure> {
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let start = cpu_seconds();
        let (mut rows, mut rejects) = (0, 0);
        for admitted in open(contract.clone(), format, Packing::Plain, Input::Bytes(bytes.clone()), Options::default())?
        {
            let admitted = admitted?;
            rows += admitted.batch.num_rows();
            rejects += admitted.rejects.len();
        }
        let seconds = cpu_seconds() - start;
        if rejects > 0 {
            println!("{name}: {rejects} rejects");
        }
        best = best.max(rows as f64 / seconds);
    }
    println!("{name:24} {:6.2} M rows/s  {:7.1} MB", best / 1e6, bytes.len() as f64 / 1e6);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let rows = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let contracts = laked::contract::shipped();
    let contract = contracts.into_iter().find(|c| c.ident().name() == "cgm_readings").ok_or("no contract")?;
    let contract = Arc::new(contract);
    run("ndjson", &contract, Format::Ndjson, &ndjson(rows, ""))?;
    run("ndjson, spaces", &contract, Format::Ndjson, &ndjson(rows, " "))?;
    let array = [
        b"[".as_slice(),
        ndjson(rows, "").trim_ascii_end().split(|&b| b == b'\n').collect::<Vec<_>>().join(&b',').as_slice(),
        b"]",
    ]
    .concat();
    run("json array", &contract, Format::Json, &array.into())?;
    run("csv", &contract, Format::Csv, &csv(rows))
}
