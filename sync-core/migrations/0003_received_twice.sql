-- Where a dropped duplicate stood in its message, so that it can take the place of the one that was filed.

ALTER TABLE dropped_duplicates ADD COLUMN part TEXT; -- NULL: noted by a release that did not know
ALTER TABLE dropped_duplicates ADD COLUMN file_name TEXT;
CREATE INDEX dropped_duplicates_message ON dropped_duplicates (namespace, message_key);
CREATE INDEX documents_message ON documents (namespace, message_key, part);
