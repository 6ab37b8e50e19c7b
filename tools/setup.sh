#!/bin/sh
# tools/setup.sh SET...: installs the Debian packages of the named sets that are missing; asks dpkg once, so it costs
# nothing when all are there. Without root it prints the one line that root would have to type, and fails.
set -eu

# cmocka is among them because Meson configures the tests together with the program.
build="ca-certificates cargo-web gcc libc6-dev libcmocka-dev libcurl4-openssl-dev libevent-dev libhwloc-dev libjansson-dev libpcre2-dev
    libssl-dev libutf8proc-dev libxxhash-dev meson ninja-build pkgconf python3 python3-pip"
check="chromium clang-19 clang-format-19 curl gnuplot-nox libclang-rt-19-dev llvm-19 openssl"
goldens="cmake g++ python3-venv"
peer="cmake g++"
fresh="debootstrap"
texts="bible-kjv"

wanted=""
for set in "$@"; do
    eval "wanted=\"\$wanted \$$set\""
done
# shellcheck disable=SC2086 # a list of words
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p' || true)
missing=""
for package in $wanted; do
    case "
$installed
" in
    *"
$package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -ne 0 ]; then
    echo "Some system packages are missing. This line installs them; then run make again:" >&2
    echo "    sudo apt-get update && sudo $install" >&2
    exit 1
fi
echo "Installing system packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -q update || echo "tools/setup.sh: some package lists could not be fetched; going on with the others" >&2
# shellcheck disable=SC2086 # a command line
$install -q -o Dpkg::Use-Pty=0
