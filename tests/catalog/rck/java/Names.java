package org.apache.iceberg.rest;

import org.apache.iceberg.catalog.Namespace;
import org.junit.jupiter.api.BeforeEach;

/** The kit's catalog tests with those of names on, which no setting of the kit switches on. */
public class Names extends RESTCompatibilityKitCatalogTests {
  @Override
  protected boolean supportsNestedNamespaces() {
    return true;
  }

  @Override
  protected boolean supportsNamesWithDot() {
    return true;
  }

  @Override
  protected boolean supportsNamesWithSlashes() {
    return true;
  }

  /** Between tests the kit empties flat namespaces only. */
  @BeforeEach
  void emptyNested() {
    for (String name : new String[] {"parent", "new.db", "new/db", "ns", "ns1"}) {
      drop(Namespace.of(name));
    }
  }

  private void drop(Namespace namespace) {
    if (catalog().namespaceExists(namespace)) {
      catalog().listTables(namespace).forEach(table -> catalog().dropTable(table, false));
      catalog().listNamespaces(namespace).forEach(this::drop);
      catalog().dropNamespace(namespace);
    }
  }
}
