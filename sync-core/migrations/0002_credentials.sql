-- Sealed credentials of mailboxes, and which rules read a message.

CREATE TABLE credentials (
    namespace      TEXT NOT NULL,
    mailbox_id     TEXT NOT NULL,
    key_version    BIGINT NOT NULL, -- of the key that wraps the data key
    wrapped_key    TEXT NOT NULL,   -- hex
    content        TEXT NOT NULL,   -- hex
    exchange       TEXT,            -- who trades it for an access token right now …
    exchange_until BIGINT,          -- … and until when others have to wait
    update_time    BIGINT NOT NULL,
    PRIMARY KEY (namespace, mailbox_id),
    FOREIGN KEY (namespace, mailbox_id) REFERENCES mailboxes (namespace, mailbox_id) ON DELETE CASCADE
);
CREATE INDEX credentials_key ON credentials (key_version);

ALTER TABLE messages ADD COLUMN extractor_version BIGINT NOT NULL DEFAULT 0; -- 0: not known
