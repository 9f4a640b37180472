# SPDX-License-Identifier: MIT
#
# apt.sh - Debian's packages of any architecture and suite, by an apt world of
# their own in the folder $A. To be sourced by a script that has `say`. The
# machine's own apt lists and packages are neither read nor touched.

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
APT_HELPER=/usr/lib/apt/apt-helper      # its cat-file unpacks xz, zst, gz

# Archives to try, best first. --print-uris works for every source format and
# before any "apt update".
mirrors() {
    [ -z "${DEBIAN_MIRROR:-}" ] || echo "$DEBIAN_MIRROR"
    apt-get --print-uris update 2>/dev/null |
        sed -n "s|^'\(.*\)/dists/[^/]*/InRelease'.*|\1|p" |
        grep debian | grep -v security || :
    echo http://deb.debian.org/debian
}

# apt_conf ARCH MIRROR SUITE: a private apt world in $A. It is read after the
# machine's own configuration, so a proxy set there stays; hooks are cleared.
apt_conf() {
    mkdir -p "$A/lists/partial" "$A/cache/archives/partial" "$A/none"
    : > "$A/status"
    echo "deb [arch=$1 signed-by=$KEYRING] $2 $3 main" > "$A/sources.list"
    cat > "$A/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear APT::Architectures;
APT::Architecture "$1";
APT::Architectures { "$1"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Dir::Etc::sourcelist "$A/sources.list";
Dir::Etc::sourceparts "$A/none";
Dir::Etc::preferences "$A/none/x";
Dir::Etc::preferencesparts "$A/none";
Dir::State::lists "$A/lists";
Dir::State::status "$A/status";
Dir::State::extended_states "$A/extended_states";
Dir::Cache "$A/cache";
Dir::Log "$A/none";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
CONF
}

# apt_lists ARCH SUITE: package lists from the first archive that serves this suite.
apt_lists() {
    for m in $(mirrors | awk '!seen[$0]++'); do
        say "$1: package lists of $2 from $m"
        apt_conf "$1" "$m" "$2"
        apt-get -c "$A/apt.conf" -q update >&2 && return 0
    done
    say "no Debian archive can be reached (set DEBIAN_MIRROR, or http_proxy, or go online)"
    exit 3
}

