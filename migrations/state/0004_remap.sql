-- The remap by which it was taken below another name than the signed one, like mirror/quay=quay.io; NULL for all others.
ALTER TABLE upload ADD COLUMN remap TEXT;
