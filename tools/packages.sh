# Debian packages that Atoll needs, for setup and check to source. Only missing ones are installed.

build_packages=(clang-19 mold ccache cmake ninja-build pkg-config protobuf-compiler
  libboost1.81-dev libboost-json1.81-dev libnghttp2-dev libsodium-dev libprotobuf-dev libfmt-dev
  libcli11-dev libsqlite3-dev libseccomp-dev libgtest-dev zlib1g-dev)
run_packages=(crun e2fsprogs iproute2 procps curl ca-certificates mmdebstrap uidmap)
demo_packages=()
check_packages=(libclang-rt-19-dev python3 python3-venv git jq)
# A Node of its own is taken when it is new enough for the E2B client.
if ! command -v node >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -lt 18 ]; then
  demo_packages+=(nodejs npm)
elif ! command -v npm >/dev/null; then
  demo_packages+=(npm)
fi

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# install_missing PACKAGE...: what is there is left as it is. Prints one line for what it does.
install_missing() {
  local missing=() p
  for p in "$@"; do installed "$p" || missing+=("$p"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
  local log
  log=$(mktemp)
  # A list that is too old names files that the mirror no longer has: fetched anew once.
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
      tail -n 15 "$log" >&2
      rm -f "$log"
      echo "apt-get could not install: ${missing[*]}. Check the mirrors (apt-get update), then run this again." >&2
      return 1
    fi
  fi
  rm -f "$log"
}
