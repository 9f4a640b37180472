# SPDX-License-Identifier: MIT
#
# A driver of PCI Express hotplug slots in shell, for guests whose kernel has none (Debian's for riscv64): it
# reads Slot Status (PCI Express Base 4.0, 7.5.3.11) by configuration space, gives and takes power by Slot
# Control, and has the kernel find and forget devices. Left out: the attention indicator, the five seconds of
# grace, errors of power. Whoever reads this file has busybox, and makes the folder $W.
S=/sys/bus/pci/devices
ON='\300\001' OFF='\300\007'            # Slot Control 0x1c0: power and its indicator; 0x7c0: neither

byte() { od -An -tu1 -j "$2" -N 1 "$S/$1/config" | tr -d ' '; }
word() { od -An -tu2 -j "$2" -N 2 "$S/$1/config" | tr -d ' '; }
put()  { printf "$3" | dd of="$S/$1/config" bs=2 seek=$(($2 / 2)) conv=notrunc 2>/dev/null; }
octal() { printf '\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8)); }

express() { # PORT: where its PCI Express capability is
    at=$(byte "$1" 52)
    while [ "$at" != 0 ] && [ "$(byte "$1" "$at")" != 16 ]; do at=$(byte "$1" $((at + 1))); done
    echo "$at"
}

ports() { # all of them, as PORT:CAPABILITY
    for p in "$S"/*; do
        p=${p##*/}
        [ "$(cat "$S/$p/class")" = 0x060400 ] && printf ' %s:%s' "$p" "$(express "$p")"
    done
}

# NUMBER, PORT, CAPABILITY: does what the slot's button asks for. Sets `slot` to on or off when it did something, and `card`.
attend() {
    slot=
    s=$(word "$2" $(($3 + 26)))
    [ $((s & 9)) != 0 ] || return       # no button, no change of presence
    put "$2" $(($3 + 26)) "$(octal $((s & 287)))"
    card=$(basename "$S/$2"/pci_bus/*):00.0
    if [ ! -e "$W/on$1" ]; then
        [ $((s & 64)) != 0 ] || return
        put "$2" $(($3 + 24)) "$ON"
        i=0
        while [ $(($(word "$2" $(($3 + 18))) & 8192)) = 0 ] && [ $i -lt 50 ]; do sleep 0.02; i=$((i + 1)); done
        echo 1 > "$(echo "$S/$2"/pci_bus/*)/rescan"
        touch "$W/on$1"
        slot=on
    elif [ $((s & 1)) != 0 ]; then
        [ ! -e "$S/$card" ] || echo 1 > "$S/$card/remove"
        put "$2" $(($3 + 24)) "$OFF"
        rm "$W/on$1"
        slot=off
    fi
}
