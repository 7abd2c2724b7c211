//! How other engines open the lake. The reader tests run the same lines against a running daemon.

use std::path::Path;

/// The lines to type, engine by engine.
pub fn lines(url: &str, lake: &Path) -> String {
    let lake = std::path::absolute(lake).unwrap_or_else(|_| lake.to_path_buf());
    format!(
        "
Read it from another engine, now or while rows come in:

  DuckDB     LOAD avro; LOAD httpfs; LOAD iceberg;   -- INSTALL them once
             ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{url}', AUTHORIZATION_TYPE 'none');
             SELECT count(*) FROM lake.glucose.cgm_readings;
             -- or without a catalog:
             SELECT count(*) FROM iceberg_scan('{lake}/warehouse/glucose/cgm_readings');

  PyIceberg  from pyiceberg.catalog import load_catalog
             table = load_catalog('lake', type='rest', uri='{url}').load_table('glucose.cgm_readings')
             table.scan(row_filter=\"country = 'TW'\").to_arrow()

  Trino      connector.name=iceberg
             iceberg.catalog.type=rest
             iceberg.rest-catalog.uri={url}
             fs.native-local.enabled=true
             local.location=/

  Spark      --packages org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.11.0
             --conf spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog
             --conf spark.sql.catalog.lake.type=rest
             --conf spark.sql.catalog.lake.uri={url}",
        lake = lake.display(),
    )
}
