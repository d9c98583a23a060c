SUMMARY = "What every A/B image holds"
DESCRIPTION = "The client, its configuration for the board, and the data partition that grows."

inherit packagegroup

RDEPENDS:${PN} = "rota rota-grow-data virtual-rota-conf"
RRECOMMENDS:${PN} = "rota-modules"
