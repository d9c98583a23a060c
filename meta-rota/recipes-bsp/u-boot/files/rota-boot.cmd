# SPDX-License-Identifier: MIT
#
# rota's boot script for U-Boot: chooses the root file system. One slot is committed; the other is at times on trial.
# rota-uboot makes three things of it: a boot command for U-Boot's configuration, the same for the environment, boot.scr.
#
# The records are variables of the environment, Mender's names:
#   mender_boot_part   number of the partition to boot: the one on trial during a trial (_hex: the same for `load`)
#   upgrade_available  1 during a trial
#   bootcount          boots of the trial so far; bootlimit: how many there are
# U-Boot's own bootcount counts where it is configured (BOOTCOUNT_ENV) and has counted to 1 before this script runs; where
# it still says 0, nobody has counted, and the script does it from then on (rota_counter). Whoever counts: a count that cannot be
# saved is not believed, since a trial that does not start would be started for ever. setexpr counts in hexadecimal, so that the limit
# has one digit.
#
# Falling back is saved twice, so that both copies of the environment hold it. A slot on trial that does not start falls
# back at once. The committed slot is tried twice, then the other one without being committed, then the board restarts.
# The script never returns to the prompt.
#
# One command a line; `then`, `do` and `else` end a line; no backslashes, and # only in the first column: the lines are
# joined into one. What may have many words is quoted: some U-Boots take 16. Names that begin with rota_ are variables of
# the shell, never empty, and none of the environment, which would hide them; rota_counter alone is kept there.

@PREPARE@
rota_slot=A
rota_trial=0
rota_spent=0
if test "${mender_boot_part}" = "@PART_B@"; then
  rota_slot=B
fi
if test "${upgrade_available}" = "1"; then
  rota_trial=1
  if test -z "${bootlimit}"; then
    setenv bootlimit 1
  fi
  if test ${bootlimit} -lt 1; then
    setenv bootlimit 1
  fi
  if test ${bootlimit} -gt 9; then
    setenv bootlimit 9
  fi
  if test -z "${bootcount}"; then
    setenv bootcount 0
  fi
  if test "${bootcount}" = "0"; then
    setenv rota_counter script
  fi
  if test "${rota_counter}" = "script"; then
    if setexpr bootcount ${bootcount} + 1; then
      echo rota: counted boot ${bootcount}
    else
      rota_spent=1
    fi
  fi
  if saveenv; then
    echo rota: boot ${bootcount} of the trial is noted
  else
    rota_spent=1
  fi
  if test ${bootcount} -gt ${bootlimit}; then
    rota_spent=1
  fi
fi

for rota_turn in 1 2 3; do
  if test ${rota_slot} = A; then
    rota_part=@PART_A_HEX@
    setenv bootargs "root=@ROOT_A@ @ARGS@ rota.slot=A"
  else
    rota_part=@PART_B_HEX@
    setenv bootargs "root=@ROOT_B@ @ARGS@ rota.slot=B"
  fi
  if test ${rota_trial} = 1; then
    setenv bootargs "${bootargs} rota.trial=1"
  fi
  if test ${rota_spent} = 0; then
    echo "rota: booting slot ${rota_slot}, bootcount ${bootcount} of ${bootlimit}, ${bootargs}"
    rota_whole=0
    rota_initrd=-
    rota_fdt=${fdtcontroladdr}
    if load @INTERFACE@ @DEVICE@:${rota_part} ${kernel_addr_r} @KERNEL@; then
      rota_whole=1
    fi
    if test -n "@DTB@"; then
      if load @INTERFACE@ @DEVICE@:${rota_part} ${fdt_addr_r} @DTB@; then
        rota_fdt=${fdt_addr_r}
      else
        rota_whole=0
      fi
    fi
    if test -n "@INITRD@"; then
      if load @INTERFACE@ @DEVICE@:${rota_part} ${ramdisk_addr_r} @INITRD@; then
        rota_initrd=${ramdisk_addr_r}:${filesize}
      else
        rota_whole=0
      fi
    fi
    if test ${rota_whole} = 1; then
      @START@
    fi
    echo rota: slot ${rota_slot} does not start
  fi
  rota_spent=0
  rota_other=0
  if test ${rota_trial} = 1; then
    rota_other=1
  fi
  if test ${rota_turn} = 2; then
    rota_other=1
  fi
  if test ${rota_other} = 1; then
    if test ${rota_slot} = A; then
      rota_slot=B
    else
      rota_slot=A
    fi
  fi
  if test ${rota_trial} = 1; then
    rota_trial=0
    echo rota: the trial is over, back to slot ${rota_slot}
    if test ${rota_slot} = A; then
      setenv mender_boot_part @PART_A@
      setenv mender_boot_part_hex @PART_A_HEX@
    else
      setenv mender_boot_part @PART_B@
      setenv mender_boot_part_hex @PART_B_HEX@
    fi
    setenv upgrade_available 0
    setenv bootcount 0
    setenv rota_counter
    setenv bootargs
    saveenv
    saveenv
  fi
done
echo rota: no slot starts
sleep 5
reset
