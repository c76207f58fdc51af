-- What becomes of pictures, where a tenant or its plan says so: a JSON object. Without, it is inherited.

ALTER TABLE tenants ADD COLUMN pictures TEXT;
ALTER TABLE plans ADD COLUMN pictures TEXT;
