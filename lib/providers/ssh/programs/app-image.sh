# An image that Dokploy built has no registry behind it: its tag moves on with the next build. A second tag keeps the good one from
# being pruned as dangling, and giving it the first tag again is the way back.
case $APP_NAME in
  '' | [!a-z0-9]* | *[!a-z0-9.-]*) fail 'APP_NAME is not the name of a service.' 65 ;;
esac
case $IMAGE in
  sha256:*[!0-9a-f]*) fail 'IMAGE is not the id of an image.' 65 ;;
  sha256:*) ;;
  *) fail 'IMAGE is not the id of an image.' 65 ;;
esac
if ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
  echo image=absent
  exit 0
fi
case $ACTION in
  keep) docker image tag "$IMAGE" "landfall-kept/$APP_NAME:last-good" ;;
  restore) docker image tag "$IMAGE" "$APP_NAME:latest" ;;
  *) fail 'ACTION is keep or restore.' 65 ;;
esac
echo image=present
