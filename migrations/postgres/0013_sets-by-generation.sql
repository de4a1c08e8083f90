-- Nodes ask which sets have changed since the newest that they know of, instead of asking for each set that they keep.
CREATE INDEX image_by_generation ON image (generation);
