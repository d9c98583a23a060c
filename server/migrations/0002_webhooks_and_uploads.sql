-- Artifacts that were sent by link and wait to be completed.
CREATE TABLE uploads (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    received    TEXT NOT NULL,          -- JSON: name, detail, size, sha256
    created     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Who is told when something becomes of a device.
CREATE TABLE integrations (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    provider    TEXT NOT NULL,          -- webhook
    description TEXT NOT NULL,
    credentials TEXT NOT NULL,          -- JSON: type, http.url, http.secret
    created     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- What became of devices, and to whom it was told.
CREATE TABLE webhook_events (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    type        TEXT NOT NULL,
    data        TEXT NOT NULL,          -- JSON
    created     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX webhook_events_by_seq ON webhook_events (tenant_id, seq);

CREATE TABLE webhook_deliveries (
    tenant_id   TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    due         INTEGER,                -- when to try next; null: delivered, or given up
    delivered   INTEGER NOT NULL DEFAULT 0,
    status_code INTEGER,
    error       TEXT,
    PRIMARY KEY (tenant_id, event_id, integration_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due) WHERE due IS NOT NULL;
