# Sourced by the scripts of this folder. `prepare EXTRA` makes a virtual environment
# with the package and an extra of setup.cfg ("" for none), or finds it made, and sets
#
#   root      the repository, where the script now is
#   python    the environment's Python
#
# PYTHON=... names the Python to make it with, INSERTION_JAX_VENV=... another folder.

root=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${INSERTION_JAX_VENV:-$root/.venv}
python=$venv/bin/python

prepare() {
    local extra=$1 pins stamp inputs
    cd "$root"
    [ -x "$python" ] || make_venv
    is_new_enough "$python" || fail \
        "$venv holds a Python older than 3.11; remove it and run this again."

    # Python 3.11 has the last jax for it; what is tested on 3.12 serves later ones.
    pins=constraints/py312.txt
    case $("$python" -c 'import sys; print(*sys.version_info[:2])') in
    "3 11") pins=constraints/py311.txt ;;
    esac

    # Installs anew only if what is asked for has changed.
    stamp=$venv/installed${extra:+-$extra}
    inputs="$root $(cat setup.cfg pyproject.toml "$pins" | cksum)"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$inputs" ]; then
        say "Installing insertion_jax${extra:+[$extra]} into $venv; from scratch this takes some minutes."
        "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null
        "$python" -m pip install -qq --disable-pip-version-check \
            --constraint "$pins" --editable ".${extra:+[$extra]}" ||
            fail "pip could not install the packages; its message is above."
        echo "$inputs" >"$stamp"
        say "Installed."
    fi

    # Compiled programs are kept between runs, in a folder nobody else can write to:
    # who writes a cache can run code in the jobs that read it.
    if [ -z "${JAX_COMPILATION_CACHE_DIR:-}" ]; then
        export JAX_COMPILATION_CACHE_DIR=$venv/jax_cache
        mkdir -p "$JAX_COMPILATION_CACHE_DIR"
        chmod 700 "$JAX_COMPILATION_CACHE_DIR"
    fi
    # By default jax keeps what took it a second; most programs here take less.
    : "${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:=0.1}"
    export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS
}

make_venv() {
    # The tested versions first. A name may exist and not run (pyenv), so each is run.
    local names=(python3.12 python3.11 python3 python3.13 python3.14) name
    local lack="There is no Python >= 3.11 with the venv module here"
    if [ -n "${PYTHON:-}" ]; then
        names=("$PYTHON")
        lack="PYTHON=$PYTHON is no Python >= 3.11 with the venv module"
    fi
    for name in "${names[@]}"; do
        if is_new_enough "$name" && "$name" -c 'import ensurepip' 2>/dev/null; then
            "$name" -m venv "$venv"
            return
        fi
    done
    fail "$lack; install one or name one: PYTHON=/path/to/python3.12 bash $0"
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

say() {
    echo "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}
