# shellcheck shell=bash
# Completion of rota for bash: /usr/share/bash-completion/completions/rota
_rota() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' choices='' word
    local commands='daemon install commit rollback resume bootstrap doctor status show-artifact show-provides check-update send-inventory'
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ " $commands " == *" $word "* ]] && command=$word
    done
    case $before in
    -c | --config) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
    -d | --data) mapfile -t COMPREPLY < <(compgen -d -- "$current") && return ;;
    -l | --log-level) choices='error warning info debug' ;;
    --stop-before) choices='ArtifactInstall_Enter ArtifactCommit_Enter ArtifactCommit_Leave ArtifactRollback_Enter ArtifactFailure_Enter Cleanup' ;;
    *)
        case $current,$command in
        -*)
            choices='-c --config -d --data -l --log-level -V --version -h --help'
            case $command in
            install | resume) choices+=' --reboot-exit-code --stop-before' ;;
            commit | rollback) choices+=' --stop-before' ;;
            doctor) choices+=' --online --json' ;;
            status) choices+=' --why --json' ;;
            esac
            ;;
        *,) choices=$commands ;;
        *,install) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current")
}
complete -o filenames -F _rota rota
