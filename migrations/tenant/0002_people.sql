-- Users as the Tenants API installs them. A hash is Argon2id's PHC text.

ALTER TABLE {users} ADD COLUMN email TEXT;
ALTER TABLE {users} ADD COLUMN password_hash TEXT;
