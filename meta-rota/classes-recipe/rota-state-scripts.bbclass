# SPDX-License-Identifier: MIT
#
# A recipe of state scripts: executables named STATE_Enter_NN, STATE_Leave_NN or STATE_Error_NN.
#
#   SRC_URI = "file://ArtifactInstall_Enter_00_stop-service file://Download_Enter_10_ask-user"
#   inherit rota-state-scripts
#
# Scripts of Idle, Sync and Download belong to the device: they are packaged, install the package. Scripts of the Artifact
# states travel in the artifact: name the recipe in ROTA_STATE_SCRIPTS of the image (or in local.conf).
#
#   ROTA_STATE_SCRIPTS_SOURCE  the folder that holds them, otherwise where SRC_URI is unpacked

inherit deploy allarch

ROTA_STATE_SCRIPTS_SOURCE ?= "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

rota_scripts() {
    find ${ROTA_STATE_SCRIPTS_SOURCE} -maxdepth 1 -type f -name "$1" | sort
}

do_install:append() {
    for state in Idle Sync Download; do
        for script in $(rota_scripts "${state}_*"); do
            install -D -m 0755 "$script" "${D}${sysconfdir}/rota/scripts/$(basename "$script")"
        done
    done
}

do_deploy() {
    for script in $(rota_scripts 'Artifact*_*'); do
        case $(basename "$script") in
        *_Enter_[0-9][0-9]* | *_Leave_[0-9][0-9]* | *_Error_[0-9][0-9]*) ;;
        *) bbfatal "$(basename "$script") is no state script: its name is STATE_Enter_NN, STATE_Leave_NN or STATE_Error_NN" ;;
        esac
        install -D -m 0755 "$script" "${DEPLOYDIR}/rota-state-scripts/${PN}/$(basename "$script")"
    done
}
addtask deploy after do_install before do_build

ALLOW_EMPTY:${PN} = "1"
