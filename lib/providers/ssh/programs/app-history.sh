# The releases of one application, newest last, each one line of base64. They hold its variables: readable by root alone.
case $APP in
  '' | .* | *[!a-z0-9-]*) fail 'APP is not the name of an application.' 65 ;;
esac
HISTORY_DIRECTORY=/etc/landfall/apps
HISTORY_FILE=$HISTORY_DIRECTORY/$APP
