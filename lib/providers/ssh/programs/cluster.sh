# While this file exists, Caddy's answer to a health check is that visitors shall go elsewhere. It does not outlive a reboot.
LEAVING=/run/landfall/leaving
# Per part, what was put in place for it and what it does not run with yet. It goes when the part has shown that it does its work again, so that a
# change which was cut short, or refused, is seen by whoever looks.
# shellcheck disable=SC2034
UNTAKEN=/var/lib/landfall/untaken
# What Docker logs in to registries with when Nomad pulls.
# shellcheck disable=SC2034 # not every program that begins with these lines needs it
LOGINS_FILE=/etc/landfall/registries.json

# leave SECONDS: visitors go elsewhere; nothing when none are there, or when they have nowhere to go (0)
leave() {
  if [ "$1" -eq 0 ] || ! systemctl is-active -q caddy.service; then return 0; fi
  mkdir -p "${LEAVING%/*}"
  chmod 755 "${LEAVING%/*}"
  : >"$LEAVING"
  chmod 644 "$LEAVING"
  sleep "$1"
}

