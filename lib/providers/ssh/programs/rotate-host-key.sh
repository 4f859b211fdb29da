KEY=/etc/ssh/ssh_host_ed25519_key

# The address and port on which this very connection reached the server.
served_key() {
  # shellcheck disable=SC2086 # split on purpose: client address, client port, server address, server port
  set -- ${SSH_CONNECTION:-}
  ssh-keyscan -T 3 -t ed25519 -p "${4:-22}" "${3:-127.0.0.1}" 2>/dev/null | sed -n 's/^[^ ]* //p' | head -n 1
}

new=$(mktemp "$KEY.XXXXXX")
trap 'rm -f "$new" "$new.pub"' EXIT
printf '%s\n' "$PRIVATE" >"$new"
derived=$(ssh-keygen -y -P '' -f "$new" 2>/dev/null) || fail 'The private host key cannot be read.' 65
case $derived in
  "$PUBLIC" | "$PUBLIC "*) ;;
  *) fail 'The two halves of the host key do not belong together.' 65 ;;
esac

printf '%s\n' "$PUBLIC" >"$new.pub"
chmod 644 "$new.pub"
mv -f "$new" "$KEY"
mv -f "$new.pub" "$KEY.pub"
for other in /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub; do
  case $other in
    "$KEY" | "$KEY.pub") ;;
    *) rm -f "$other" ;;
  esac
done
sync "$KEY" 2>/dev/null || sync

reload_sshd || fail 'sshd could not be reloaded.'
tries=0
until [ "$(served_key)" = "$PUBLIC" ]; do
  tries=$((tries + 1))
  if [ "$tries" -ge 10 ]; then fail 'sshd does not serve the new host key.'; fi
  sleep 0.3
done
echo ok=1
