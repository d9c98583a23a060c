-- Every table carries tenant_id, and it leads every key. Times are unix milliseconds; booleans are 0 and 1; JSON is text.

CREATE TABLE tenants (
    tenant_id   TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    token       TEXT NOT NULL UNIQUE,   -- what a device sends to say which tenant it belongs to
    created     INTEGER NOT NULL
);

CREATE TABLE users (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    email       TEXT NOT NULL UNIQUE,   -- a sign-in names no tenant, so it is unique in all of them
    password    TEXT NOT NULL,          -- argon2id, PHC string
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    login       INTEGER,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE user_tokens (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    name        TEXT,                   -- of a personal access token; null for a session
    created     INTEGER NOT NULL,
    expires     INTEGER,                -- null: does not expire
    last_used   INTEGER,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX user_tokens_by_user ON user_tokens (tenant_id, user_id);

CREATE TABLE settings (
    tenant_id   TEXT NOT NULL,
    user_id     TEXT NOT NULL,          -- '' for the settings that the tenant shares
    body        TEXT NOT NULL,
    etag        TEXT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE devices (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    identity    TEXT NOT NULL,          -- canonical JSON: keys sorted, no spaces
    identity_hash TEXT NOT NULL,        -- sha256 of it, hex
    status      TEXT NOT NULL,
    group_name  TEXT,
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    check_in    INTEGER,
    inventory_updated INTEGER,
    tags_etag   TEXT NOT NULL DEFAULT '',
    decommissioning INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, identity_hash)
);
CREATE INDEX devices_by_status ON devices (tenant_id, status, created, id);
CREATE INDEX devices_by_group ON devices (tenant_id, group_name);

CREATE TABLE auth_sets (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    pubkey      TEXT NOT NULL,          -- PEM, as this program writes it
    status      TEXT NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 0, -- of its tokens; raised to revoke them
    created     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, device_id, pubkey)
);

-- Tokens of an auth set below this generation are void. Kept until the last of them would have expired.
CREATE TABLE revocations (
    tenant_id   TEXT NOT NULL,
    auth_set_id TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, auth_set_id)
);

-- One row for each value: arrays take several, told apart by idx.
CREATE TABLE attributes (
    tenant_id   TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    scope       TEXT NOT NULL,          -- identity, inventory, tags, monitor
    name        TEXT NOT NULL,
    idx         INTEGER NOT NULL,       -- -1 for a single value, else the place in the array
    text        TEXT,                   -- exactly one of text and number is set
    number      REAL,
    description TEXT,
    updated     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, device_id, scope, name, idx)
) WITHOUT ROWID;
CREATE INDEX attributes_by_value ON attributes (tenant_id, scope, name, text);

CREATE TABLE artifacts (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    detail      TEXT NOT NULL,          -- JSON: device types, payloads, provides, depends, clears, format, signed
    size        INTEGER NOT NULL,
    sha256      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX artifacts_by_name ON artifacts (tenant_id, name);

-- What makes an artifact unique: its name, for each device type, with each combination of depends.
CREATE TABLE artifact_keys (
    tenant_id   TEXT NOT NULL,
    name        TEXT NOT NULL,
    device_type TEXT NOT NULL,
    depends     TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name, device_type, depends)
);
CREATE INDEX artifact_keys_by_artifact ON artifact_keys (tenant_id, artifact_id);

CREATE TABLE releases (
    tenant_id   TEXT NOT NULL,
    name        TEXT NOT NULL,
    notes       TEXT NOT NULL DEFAULT '',
    modified    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE release_tags (
    tenant_id   TEXT NOT NULL,
    name        TEXT NOT NULL,
    tag         TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name, tag)
);

CREATE TABLE deployments (
    tenant_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    seq         INTEGER NOT NULL,       -- order of creation within the tenant
    name        TEXT NOT NULL,
    artifact_name TEXT NOT NULL,
    type        TEXT NOT NULL,          -- software, configuration
    status      TEXT NOT NULL,          -- pending, inprogress, finished
    created     INTEGER NOT NULL,
    finished    INTEGER,
    force_installation INTEGER NOT NULL DEFAULT 0,
    device_count INTEGER NOT NULL,
    groups      TEXT NOT NULL DEFAULT '[]',
    configuration TEXT,                 -- JSON object, for type configuration
    retries     INTEGER NOT NULL DEFAULT 0,
    total_size  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX deployments_by_seq ON deployments (tenant_id, seq);
CREATE INDEX deployments_by_artifact ON deployments (tenant_id, artifact_name, status);

CREATE TABLE device_deployments (
    tenant_id   TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    seq         INTEGER NOT NULL,       -- the deployment's
    status      TEXT NOT NULL,
    substate    TEXT NOT NULL DEFAULT '',
    reason      TEXT NOT NULL DEFAULT '', -- why it ended, when the status alone does not say it
    created     INTEGER NOT NULL,
    started     INTEGER,
    finished    INTEGER,
    artifact_id TEXT,                   -- what it was told to install
    request     TEXT,                   -- the first poll that was answered with it, canonical JSON
    attempts    INTEGER NOT NULL DEFAULT 0,
    has_log     INTEGER NOT NULL DEFAULT 0,
    hidden      INTEGER NOT NULL DEFAULT 0, -- left out of the device's history
    PRIMARY KEY (tenant_id, deployment_id, device_id)
);
CREATE INDEX device_deployments_open ON device_deployments (tenant_id, device_id, seq) WHERE finished IS NULL;
CREATE INDEX device_deployments_by_device ON device_deployments (tenant_id, device_id, seq);
CREATE INDEX device_deployments_by_status ON device_deployments (tenant_id, deployment_id, status);
CREATE INDEX device_deployments_by_artifact ON device_deployments (tenant_id, artifact_id) WHERE finished IS NULL;

CREATE TABLE deployment_logs (
    tenant_id   TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    text        TEXT NOT NULL,
    PRIMARY KEY (tenant_id, deployment_id, device_id)
);

CREATE TABLE configurations (
    tenant_id   TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    configured  TEXT NOT NULL DEFAULT '{}',
    reported    TEXT NOT NULL DEFAULT '{}',
    deployment_id TEXT,
    updated     INTEGER,
    reported_at INTEGER,
    PRIMARY KEY (tenant_id, device_id)
);
