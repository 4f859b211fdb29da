# Every program begins with this: it reads its values from stdin as `NAME <base64>` lines, closed by a line `.`, into variables.
# Values are never evaluated, exported or put on a command line; a stream that was cut short runs nothing.
set -eu
umask 077
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
export PATH

# fail SENTENCE [EXIT CODE]
fail() {
  printf '%s\n' "$1" >&2
  exit "${2:-1}"
}

# encoded VALUE: base64 on one line
encoded() {
  printf %s "$1" | base64 | tr -d '\n'
}

read_values() {
  while IFS= read -r input_line; do
    case $input_line in
      .) return 0 ;;
      *' '*) ;;
      *) fail 'A line of the input is not a name and a value.' 65 ;;
    esac
    input_name=${input_line%% *}
    case $ACCEPTS in
      *" $input_name "*) ;;
      *) fail 'The input names a value that this program does not take.' 65 ;;
    esac
    # The full stop keeps newlines at the end, which command substitution would cut.
    input_value=$(printf %s "${input_line#* }" | base64 -d && printf .) || fail 'A value of the input is not base64.' 65
    readonly "$input_name=${input_value%.}"
  done
  fail 'The input ended before its closing line.' 65
}
read_values

