# The bash kernel. Descriptor 3 brings, each ended by NUL: the number of variables, their names and values, the code;
# JSON lines go back. What the code prints goes to descriptors 1 and 2.

__atoll_run() { eval "$1"; }
__atoll_count=0
exec {__atoll_fd}<&3 3<&-
printf '{"event":"ready"}\n' >&"$__atoll_fd"
while IFS= read -r -d '' -u "$__atoll_fd" __atoll_pairs; do
  declare -A __atoll_old=()
  __atoll_new=()
  for ((__atoll_i = 0; __atoll_i < __atoll_pairs; ++__atoll_i)); do
    IFS= read -r -d '' -u "$__atoll_fd" __atoll_name
    IFS= read -r -d '' -u "$__atoll_fd" __atoll_value
    [[ $__atoll_name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
    [ -n "${!__atoll_name+x}" ] && __atoll_old[$__atoll_name]=${!__atoll_name}
    __atoll_new+=("$__atoll_name")
    export "$__atoll_name=$__atoll_value"
  done
  IFS= read -r -d '' -u "$__atoll_fd" __atoll_code
  printf '{"event":"started","count":%d}\n' "$((++__atoll_count))" >&"$__atoll_fd"
  trap 'return 130' INT
  __atoll_run "$__atoll_code" {__atoll_fd}<&-
  __atoll_status=$?
  trap '' INT
  for __atoll_name in "${__atoll_new[@]}"; do
    if [ -n "${__atoll_old[$__atoll_name]+x}" ]; then
      export "$__atoll_name=${__atoll_old[$__atoll_name]}"
    else
      unset "$__atoll_name"
    fi
  done
  if [ "$__atoll_status" != 0 ]; then
    printf '{"event":"error","name":"ExitCode","value":"exit status %d","traceback":""}\n' "$__atoll_status" >&"$__atoll_fd"
  fi
  printf '{"event":"done"}\n' >&"$__atoll_fd"
done
