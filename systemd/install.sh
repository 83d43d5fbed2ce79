#!/bin/sh
# Installs this checkout as a systemd service, or takes it away again; run as root.
#
#   systemd/install.sh install      again: upgrades, and keeps state and configuration
#   systemd/install.sh uninstall    leaves state and configuration
#
# PREFIX   the virtual environment, /opt/compute-launcher by default. It is this service's alone:
#          uninstall removes it.
# PYTHON   Python >= 3.11, /usr/bin/python3 by default. Not one below a home directory, which the
#          unit cannot see (ProtectHome=).
set -eu
umask 022 # the service's own user has to read what root installs

PREFIX=${PREFIX:-/opt/compute-launcher}
PYTHON=${PYTHON:-/usr/bin/python3}
NAME=compute-launcher
CONDUCTOR=conductor-launcher
# Not /etc/systemd/system, which is the administrator's: files there override ours and survive an
# uninstall, and `systemctl mask` works.
UNITS=/usr/local/lib/systemd/system
LINKS=/usr/local/bin
MANUAL=/usr/local/share/man
CONFIG=/etc/$NAME
MARK=$PREFIX/.installed-by-$NAME

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(dirname "$here")

main() {
    case ${1:-} in
    install) check_root; install_all ;;
    uninstall) check_root; uninstall_all ;;
    *) fail 2 "usage: $0 install|uninstall" ;;
    esac
}

install_all() {
    check_python
    check_prefix
    make_environment
    make_links
    copy_units
    copy_configuration
    copy_manual
    reload_systemd
    show_that_it_works
    if running; then
        echo "installed; start it with: systemctl enable --now $NAME"
    else
        echo "installed; no systemd runs here, so start it in the foreground, as a user of its own:"
        cat <<END
useradd --system --home-dir /var/lib/$NAME --shell /usr/sbin/nologin $NAME
install -d -m 0700 -o $NAME -g $NAME /var/lib/$NAME /run/$NAME
setpriv --reuid=$NAME --regid=$NAME --clear-groups $NAME
END
    fi
}

# Imports the program and its libraries, and checks the configuration.
show_that_it_works() {
    "$LINKS/$NAME" --version
    "$LINKS/$NAME" config check --config-file "$CONFIG/$NAME.conf" ||
        echo "$0: installed, but with this configuration it cannot start; mend $CONFIG/$NAME.conf" >&2
}

uninstall_all() {
    stop_units
    for unit in $(units); do rm -f "$UNITS/$unit"; done
    rm -f "$CONFIG/$NAME.conf.sample" "$CONFIG/instance.conf.example"
    # Only directories that exist and are empty.
    rmdir "$UNITS"/*-launcher*.service.d "$UNITS" "${UNITS%/*}" 2>/dev/null || true
    remove_links
    remove_manual
    if [ -e "$MARK" ]; then rm -rf "$PREFIX"; fi
    reload_systemd
    echo "uninstalled; configuration is left in $CONFIG* and /etc/$CONDUCTOR, state in /var/lib/*-launcher*"
}

fail() {
    echo "$0: $2" >&2
    exit "$1"
}

check_root() {
    [ "$(id -u)" = 0 ] || fail 1 "this needs root: sudo make install, or sudo make uninstall"
}

check_python() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail 1 "$PYTHON is no Python >= 3.11; name one with PYTHON=/path/to/python3"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail 1 "$PYTHON cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
    # The environment links to Python. Check the link and its target.
    path=$(command -v "$PYTHON")
    for file in "$path" "$(readlink -f "$path")"; do
        case $file in /home/* | /root/* | /run/user/*)
            fail 1 "$PYTHON is below a home directory, which the unit cannot see; name another PYTHON"
            ;;
        esac
    done
}

check_prefix() {
    [ -e "$MARK" ] || [ ! -e "$PREFIX" ] || [ -z "$(ls -A "$PREFIX")" ] ||
        fail 1 "$PREFIX is there, and not by this script; move it away or set another PREFIX"
}

make_environment() {
    mkdir -p "$PREFIX"
    touch "$MARK"
    "$PYTHON" -m venv "$PREFIX"
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    # A copy, since a build leaves files of root behind.
    cp -r "$checkout/pyproject.toml" "$checkout/README.md" "$checkout/LICENSE" \
        "$checkout/launcher" "$checkout/etc" "$here" "$source"
    set -- --quiet --disable-pip-version-check
    if [ -f "$checkout/constraints.txt" ]; then set -- "$@" --constraint "$checkout/constraints.txt"; fi
    "$PREFIX/bin/pip" wheel "$@" --no-deps --wheel-dir "$source/wheel" "$source"
    "$PREFIX/bin/pip" install "$@" "$source"/wheel/*.whl
    # The code may have changed under the same version.
    "$PREFIX/bin/pip" install "$@" --force-reinstall --no-deps "$source"/wheel/*.whl
}

make_links() {
    mkdir -p "$LINKS"
    for script in "$PREFIX"/bin/*-launcher; do ln -sf "$script" "$LINKS/"; done
}

remove_links() {
    for link in "$LINKS"/*-launcher; do
        case $(readlink "$link" || true) in "$PREFIX"/bin/*) rm -f "$link" ;; esac
    done
}

copy_units() {
    edit="s|/opt/compute-launcher/|$PREFIX/|g"
    if [ "$(systemd_version)" -ge 254 ]; then edit="$edit; s|^#\(Restart[A-Z]\)|\1|"; fi
    for unit in $(units); do
        mkdir -p "$(dirname "$UNITS/$unit")"
        sed "$edit" "$here/$unit" >"$UNITS/$unit.new"
        chmod 0644 "$UNITS/$unit.new"
        mv "$UNITS/$unit.new" "$UNITS/$unit"
    done
}

copy_configuration() {
    mkdir -p "$CONFIG"
    install -m 0644 "$checkout/etc/$NAME.conf.sample" "$here/instance.conf.example" "$CONFIG/"
    for name in $NAME $CONDUCTOR; do
        mkdir -p "/etc/$name"
        file=/etc/$name/$name.conf
        if [ ! -e "$file" ]; then
            install -m 0644 "$here/$name.conf" "$file"
        elif ! grep -q '^state_path' "$file"; then # such as that of the package
            echo "$0: $file is kept and sets no state_path, so commands look elsewhere than the unit; copy what $here/$name.conf sets" >&2
        fi
    done
}

copy_manual() {
    for page in $(pages); do
        mkdir -p "$(dirname "$MANUAL/$page")"
        install -m 0644 "$checkout/etc/man/${page#*/}" "$MANUAL/$page"
    done
}

remove_manual() {
    for page in $(pages); do rm -f "$MANUAL/$page"; done
    rmdir "$MANUAL/man1" "$MANUAL/man5" "$MANUAL/man7" 2>/dev/null || true # as the units' directories
}

pages() {
    echo "man1/$NAME.1 man5/$NAME.conf.5 man7/$NAME.7"
}

units() {
    (cd "$here" && echo ./*.service ./*.service.d/*.example)
}

stop_units() {
    if running; then
        for name in $NAME $CONDUCTOR; do
            systemctl disable --now --quiet "$name.service" 2>/dev/null || true # was never installed
        done
        systemctl list-units --all --plain --no-legend "$NAME@*.service" "$NAME-program@*.service" |
            while read -r unit _; do
                systemctl disable --now --quiet "$unit" || true # systemd cannot load it, and says so
            done
    fi
    # Enabled, but not loaded now, or no systemd runs.
    find /etc/systemd/system -path "*.wants/*" \( -name "$NAME.service" -o -name "$CONDUCTOR.service" \
        -o -name "$NAME@*.service" -o -name "$NAME-program@*.service" \) -exec rm -f {} +
}

systemd_version() {
    systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p' | grep . || echo 0
}

reload_systemd() {
    if running; then systemctl daemon-reload; fi
}

running() {
    [ -d /run/systemd/system ] # sd_booted(3)
}

main "$@"
