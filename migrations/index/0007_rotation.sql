-- For questions about the images of a key: which of them another key has signed too, and under which names. The whole
-- answer stands in the index, so that no row of the table is read.
CREATE INDEX signature_by_key ON signature (site, fingerprint, path, layout, algorithm, digest, docker_reference)
WHERE fingerprint IS NOT NULL;
