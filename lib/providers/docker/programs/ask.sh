while read -r url host; do
  if [ -z "$url" ]; then continue; fi
  answer=$(http_status "$url" "$host") || fail 'There is neither curl nor wget here.' 69
  printf 'status=%s\n' "$(printf '%s\n' "$answer" | tail -n 1)"
done <<EOF
$URLS
EOF
