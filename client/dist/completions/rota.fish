# Completion of rota for fish: /usr/share/fish/vendor_completions.d/rota.fish
set -l commands daemon install commit rollback resume bootstrap doctor status show-artifact show-provides check-update send-inventory
set -l stops ArtifactInstall_Enter ArtifactCommit_Enter ArtifactCommit_Leave ArtifactRollback_Enter ArtifactFailure_Enter Cleanup

complete -c rota -f
complete -c rota -s c -l config -r -F -d 'configuration file, or folder of rota.toml'
complete -c rota -s d -l data -x -a '(__fish_complete_directories)' -d 'state of the client'
complete -c rota -s l -l log-level -x -a 'error warning info debug' -d 'what is logged'
complete -c rota -s V -l version -d 'version of this program'
complete -c rota -s h -l help -d 'help'

complete -c rota -n "not __fish_seen_subcommand_from $commands" -a daemon -d 'run the client'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a install -d 'install an artifact'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a commit -d 'keep what was installed by hand'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a rollback -d 'undo what was installed by hand'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a resume -d 'go on with what was stopped or interrupted'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a bootstrap -d 'take the bootstrap artifact'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a doctor -d 'what is wrong with this board\'s integration'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a status -d 'what runs, and what went on'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a show-artifact -d 'name of the installed artifact'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a show-provides -d 'what installed artifacts provide'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a check-update -d 'make the daemon ask for a deployment now'
complete -c rota -n "not __fish_seen_subcommand_from $commands" -a send-inventory -d 'make the daemon send the inventory now'

complete -c rota -n '__fish_seen_subcommand_from install' -F
complete -c rota -n '__fish_seen_subcommand_from install resume' -l reboot-exit-code -d 'exit with 4 when a restart is needed'
complete -c rota -n '__fish_seen_subcommand_from install commit rollback resume' -l stop-before -x -a "$stops" -d 'stop there, for resume to go on'
complete -c rota -n '__fish_seen_subcommand_from doctor' -l online -d 'ask the servers, too'
complete -c rota -n '__fish_seen_subcommand_from status' -l why -d 'every attempt and its reason'
complete -c rota -n '__fish_seen_subcommand_from doctor status' -l json -d 'for programs'
