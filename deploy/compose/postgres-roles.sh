#!/bin/sh
# Runs once, when the database is created: the role of `serve` reads and writes rows and owns nothing (docs/UPGRADE.md).
# The password arrives on standard input, so that no list of processes shows it.
set -eu
secrets=${SECRETS_DIR:-/run/secrets}
{
  printf "\\set password '%s'\n" "$(cat "$secrets/shop_password")"
  cat <<'SQL'
CREATE ROLE shop LOGIN PASSWORD :'password';
GRANT USAGE ON SCHEMA public TO shop;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO shop;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO shop;
SQL
} | psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB"
