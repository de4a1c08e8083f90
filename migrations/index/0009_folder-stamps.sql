-- What an image's folder and its files looked like when they agreed with the record and nothing was wrong: QuickStamp of
-- src/domain/tree-walk.ts. NULL: not known, and of folders above images.
ALTER TABLE folder_entry ADD COLUMN stamp INTEGER;
