#!/bin/sh
# The part of the official image's entry point that a platform relies on: makes the database once, from the variables, then serves it.
set -eu
data=/var/lib/postgresql/data
bin=/usr/lib/postgresql/15/bin
chown -R postgres:postgres "$data"
chmod 700 "$data"
as_postgres() {
  setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
}
if [ ! -s "$data/PG_VERSION" ]; then
  umask 077
  cat "$POSTGRES_PASSWORD_FILE" >/tmp/password
  chown postgres /tmp/password
  # Into a folder of its own first: an initialisation that is cut off leaves no half database behind.
  rm -rf "$data/new"
  as_postgres "$bin/initdb" -D "$data/new" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust \
    --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$data/new/pg_hba.conf"
  echo "create database \"$POSTGRES_DB\"" | as_postgres "$bin/postgres" --single -D "$data/new" postgres >/dev/null
  as_postgres sh -c 'mv "$1"/new/* "$1"/ && rmdir "$1"/new' sh "$data"
fi
mkdir -p /var/run/postgresql
chown postgres /var/run/postgresql
exec setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/postgres" -D "$data" -c listen_addresses='*' -c jit=off
