-- Times are Unix milliseconds. Every key begins with the namespace.

CREATE TABLE archive (
    archive_id  TEXT PRIMARY KEY,
    create_time BIGINT NOT NULL
);

CREATE TABLE mailboxes (
    namespace         TEXT NOT NULL,
    mailbox_id        TEXT NOT NULL,
    owner             TEXT NOT NULL,
    address           TEXT NOT NULL,
    source            TEXT NOT NULL, -- JSON
    since             BIGINT,
    folders           TEXT NOT NULL, -- JSON
    labels            TEXT NOT NULL, -- JSON
    state             TEXT NOT NULL,
    state_reason      TEXT NOT NULL,
    version           BIGINT NOT NULL, -- grows with definition and state, not with syncing
    source_generation BIGINT NOT NULL, -- grows when the source becomes another one
    claim             BIGINT NOT NULL,
    holder_run        TEXT,
    holder_attempt    BIGINT,
    source_cursor     TEXT,
    cursor_version    BIGINT NOT NULL,
    messages          BIGINT NOT NULL,
    documents         BIGINT NOT NULL,
    duplicates        BIGINT NOT NULL,
    last_sync_time    BIGINT,
    create_time       BIGINT NOT NULL,
    update_time       BIGINT NOT NULL,
    PRIMARY KEY (namespace, mailbox_id)
);
CREATE INDEX mailboxes_owner ON mailboxes (namespace, owner, mailbox_id);

CREATE TABLE messages (
    namespace         TEXT NOT NULL,
    message_key       TEXT NOT NULL, -- hash of mailbox, source generation and source id
    mailbox_id        TEXT NOT NULL,
    source_generation BIGINT NOT NULL,
    source_id         TEXT NOT NULL,
    locator           TEXT NOT NULL,
    received_time     BIGINT NOT NULL,
    message_id        TEXT,
    sender            TEXT NOT NULL,
    subject           TEXT NOT NULL,
    state             TEXT NOT NULL,
    reason            TEXT NOT NULL,
    document_ids      TEXT NOT NULL, -- JSON
    attempts          BIGINT NOT NULL,
    retry             BIGINT NOT NULL, -- 1: a later run processes it again
    run_id            TEXT NOT NULL, -- of the last processing
    process_time      BIGINT NOT NULL,
    PRIMARY KEY (namespace, message_key),
    FOREIGN KEY (namespace, mailbox_id) REFERENCES mailboxes (namespace, mailbox_id)
);
CREATE INDEX messages_time ON messages (namespace, mailbox_id, received_time, message_key);
CREATE INDEX messages_retry ON messages (namespace, mailbox_id, message_key) WHERE retry = 1;

CREATE TABLE documents (
    namespace         TEXT NOT NULL,
    document_id       TEXT NOT NULL, -- hash of message_key and part
    owner             TEXT NOT NULL,
    mailbox_id        TEXT NOT NULL,
    run_id            TEXT NOT NULL,
    message_key       TEXT NOT NULL,
    kind              TEXT NOT NULL,
    state             TEXT NOT NULL,
    confidence        DOUBLE PRECISION NOT NULL,
    fields            TEXT NOT NULL, -- JSON
    supplier          TEXT NOT NULL, -- lower case, for searching
    supplier_key      TEXT NOT NULL, -- letters and digits only, for comparing
    number_key        TEXT NOT NULL,
    issue_date        TEXT NOT NULL,
    currency          TEXT NOT NULL,
    total             TEXT NOT NULL, -- without trailing zeros
    part              TEXT NOT NULL,
    file_name         TEXT,
    media_type        TEXT NOT NULL,
    size              BIGINT NOT NULL,
    sha256            TEXT NOT NULL,
    blob_key          TEXT NOT NULL,
    flags             TEXT NOT NULL, -- JSON
    extractor_version BIGINT NOT NULL,
    create_time       BIGINT NOT NULL,
    PRIMARY KEY (namespace, document_id)
);
CREATE UNIQUE INDEX documents_content ON documents (namespace, owner, sha256);
CREATE UNIQUE INDEX documents_blob ON documents (blob_key);
CREATE INDEX documents_time ON documents (namespace, create_time, document_id);
CREATE INDEX documents_owner ON documents (namespace, owner, create_time, document_id);
CREATE INDEX documents_mailbox ON documents (namespace, mailbox_id, create_time, document_id);
CREATE INDEX documents_run ON documents (namespace, run_id, create_time, document_id);
CREATE INDEX documents_likely ON documents (namespace, owner, supplier_key, number_key, issue_date);

CREATE TABLE likely_duplicates (
    namespace   TEXT NOT NULL,
    document_id TEXT NOT NULL,
    other_id    TEXT NOT NULL,
    PRIMARY KEY (namespace, document_id, other_id)
);
CREATE INDEX likely_duplicates_other ON likely_duplicates (namespace, other_id);

-- Messages whose document was dropped, because another message had brought the same bytes.
CREATE TABLE dropped_duplicates (
    namespace   TEXT NOT NULL,
    document_id TEXT NOT NULL,
    message_key TEXT NOT NULL,
    PRIMARY KEY (namespace, document_id, message_key)
);

-- What was deleted. Holds nothing of the document but hashes.
CREATE TABLE tombstones (
    namespace   TEXT NOT NULL,
    document_id TEXT NOT NULL,
    blob_key    TEXT NOT NULL,
    final       BIGINT NOT NULL, -- 1: reading the message again must not file it again
    delete_time BIGINT NOT NULL,
    PRIMARY KEY (namespace, document_id)
);
CREATE INDEX tombstones_blob ON tombstones (blob_key);
