/**
 * The phases of an installation as real processes, with stand-ins for `nixos-anywhere`, `ssh` and `nix` first in PATH. The stand-in
 * for nixos-anywhere calls the other two as the real one does (its source, `src/nixos-anywhere.sh`), through `timeout` where that does.
 */

import { afterEach, describe, expect, test } from 'bun:test'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LandfallError } from '../../lib/errors.ts'
import { createNixosAnywhere } from '../../lib/providers/nixos-anywhere/nixos-anywhere.ts'
import { INSTALL_PHASES, type InstallPhase, type PhaseRun } from '../../lib/providers/ports/nixos-anywhere.ts'
import { Secret } from '../../lib/secret.ts'

const open: string[] = []
afterEach(() => {
  for (const directory of open.splice(0)) rmSync(directory, { recursive: true, force: true })
})

const HOST_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9mBfSYMxvPXQF9tTh2FQ4JkP8fTn3cJ1E9rJ6vB7xk'
const AGENT_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFq0mX4n3tZc2yYyW8o8l1mV7Hq7sJ5nYpT0cQx1dEkV'

/** What the real one does in a phase, as far as it concerns us: flags, the switched-off check of host keys, a wait through `timeout`. */
const NIXOS_ANYWHERE = `set -eu
while [ $# -gt 0 ]; do
  case $1 in
    --phases) phase=$2; shift ;;
    --extra-files) files=$2; shift ;;
    --target-host) host=$2; shift ;;
    --flake | --ssh-port | --post-kexec-ssh-port | -i) shift ;;
    --no-disko-deps) ;;
    *) echo "unknown argument $1" >&2; exit 64 ;;
  esac
  shift
done
echo "### $phase"
ls -d "$TMPDIR" >>"$RIG/work"
nix eval --no-write-lock-file .
ssh -o IdentitiesOnly=yes -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no "$host" facts
if [ -n "\${files-}" ]; then (cd "$files" && find . -type f -exec stat -c '%a %n' {} +; find . -type d -name landfall -exec stat -c '%a %n' {} +) >"$RIG/files"; fi
if [ "$phase" = "\${HANG-}" ]; then
  sleep 300 & echo $! >>"$RIG/pids"
  timeout 200 ssh hang & echo $! >>"$RIG/pids"
  echo $$ >>"$RIG/pids"
  \${STUBBORN:+trap '' TERM}
  while :; do sleep 1; done
fi
if [ "$phase" = "\${FAIL-}" ]; then echo "error: the disk is in use" >&2; exit 3; fi
`
const SSH = `printf '%s\\n' "$*" >>"$RIG/ssh"
for word in "$@"; do case $word in IdentityFile=*) cat "\${word#*=}" >>"$RIG/offered" ;; esac; done
case "$*" in *hang) echo $$ >>"$RIG/pids"; exec sleep 300 ;; esac
`
const NIX = `printf '%s\\n' "$*" >>"$RIG/nix"\n`

const openRig = (variables: Readonly<Record<string, string>> = {}, without: readonly string[] = []) => {
  const rig = mkdtempSync(join(tmpdir(), 'landfall-install-'))
  open.push(rig)
  const bin = join(rig, 'bin')
  mkdirSync(bin)
  const programs = { 'nixos-anywhere': NIXOS_ANYWHERE, ssh: SSH, nix: NIX, 'ssh-copy-id': '', 'ssh-keygen': '' }
  for (const [name, text] of Object.entries(programs)) {
    if (without.includes(name)) continue
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}`)
    chmodSync(join(bin, name), 0o755)
  }
  const directory = join(rig, 'estate')
  const installer = createNixosAnywhere({
    directory,
    identityFile: join(rig, 'id_ed25519'),
    agentKeys: [AGENT_KEY],
    variables: { PATH: without.length > 0 ? bin : `${bin}:/usr/bin:/bin`, HOME: rig, RIG: rig, ...variables },
    deadlinesMs: { kexec: 700, disko: 700, install: 700, reboot: 700 },
    graceMs: 300,
  })
  const controller = new AbortController()
  const lines: string[] = []
  const given = (phase: InstallPhase, change: Partial<PhaseRun> = {}): PhaseRun => ({
    phase,
    target: {
      name: 'backend',
      address: '192.0.2.7',
      port: 22,
      user: 'root',
      hostKeyAlias: 'solo-42',
      hostKey: HOST_KEY,
    },
    flake: rig,
    system: 'backend-digitalocean',
    files: {
      'etc/ssh/ssh_host_ed25519_key': { content: new Secret('host key', 'PRIVATE-HALF\n'), mode: 0o600 },
      'etc/ssh/ssh_host_ed25519_key.pub': { content: `${HOST_KEY}\n`, mode: 0o644 },
      'var/lib/landfall/host-key-seeded': { content: '', mode: 0o600 },
    },
    lowMemory: false,
    onLine: line => lines.push(line),
    signal: controller.signal,
    ...change,
  })
  const read = (name: string) => (existsSync(join(rig, name)) ? readFileSync(join(rig, name), 'utf8') : '')
  return {
    rig,
    directory,
    installer,
    lines,
    read,
    given,
    interrupt: () => controller.abort(),
    pids: () => read('pids').trim().split('\n').filter(Boolean).map(Number),
    /** What is kept for a phase on disk; nothing, once it has ended. */
    kept: () => (existsSync(directory) ? readdirSync(directory) : []),
  }
}

const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))

const until = async (what: string, holds: () => boolean): Promise<void> => {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 300) throw new Error(`never: ${what}`)
    await Bun.sleep(10)
  }
}

const failureOf = async (running: Promise<void>): Promise<LandfallError> => {
  try {
    await running
  } catch (error) {
    if (error instanceof LandfallError) return error
    throw error
  }
  throw new Error('it did not fail')
}

describe('a phase', () => {
  test('beside another server’s keeps its files and its pin to its end', async () => {
    const rig = openRig({ HANG: 'kexec' })
    const first = failureOf(rig.installer.run(rig.given('kexec')))
    await until('the first phase runs', () => rig.pids().length > 2)
    const [work = ''] = rig.kept()
    await rig.installer.run(rig.given('disko'))
    expect(rig.kept()).toEqual([work])
    expect(existsSync(join(rig.directory, work, 'bin/ssh'))).toBe(true)
    await first
    expect(rig.kept()).toEqual([])
  })

  test('runs with every ssh held to the pinned host key, whatever nixos-anywhere says about it', async () => {
    const rig = openRig()
    for (const phase of INSTALL_PHASES) await rig.installer.run(rig.given(phase))
    expect(rig.lines).toEqual(INSTALL_PHASES.map(phase => `### ${phase}`))
    const calls = rig.read('ssh').trim().split('\n')
    expect(calls).toHaveLength(4)
    for (const call of calls) {
      const first = (name: string) => new RegExp(`-o ${name}=(\\S+)`).exec(call)?.[1]
      expect(first('StrictHostKeyChecking')).toBe('yes')
      expect(first('UserKnownHostsFile')).toContain(`${rig.directory}/install-`)
      expect(first('HostKeyAlias')).toBe('solo-42')
      expect(first('BatchMode')).toBe('yes')
      expect(first('IdentitiesOnly')).toBe('yes')
    }
    expect(rig.read('offered')).toBe(`${AGENT_KEY}\n`.repeat(calls.length))
    expect(rig.read('nix')).toContain('eval')
    expect(rig.kept()).toEqual([])
  })

  test('brings the files of the new system with their modes in the phase install alone, and leaves none of them here', async () => {
    const rig = openRig()
    await rig.installer.run(rig.given('disko'))
    expect(rig.read('files')).toBe('')
    await rig.installer.run(rig.given('install'))
    expect(rig.read('files').trim().split('\n').sort()).toEqual([
      '600 ./etc/ssh/ssh_host_ed25519_key',
      '600 ./var/lib/landfall/host-key-seeded',
      '644 ./etc/ssh/ssh_host_ed25519_key.pub',
      '700 ./var/lib/landfall',
    ])
    for (const work of rig.read('work').trim().split('\n')) expect(existsSync(work)).toBe(false)
    expect(rig.lines.join()).not.toContain('PRIVATE-HALF')
  })

  test('removes what a killed run has left', async () => {
    const rig = openRig()
    mkdirSync(join(rig.directory, 'install-old'), { recursive: true })
    writeFileSync(join(rig.directory, 'install-old', 'key'), 'PRIVATE-HALF')
    await rig.installer.run(rig.given('kexec'))
    expect(rig.kept()).toEqual([])
  })

  test('that fails says which, where, why and how to go on', async () => {
    const rig = openRig({ FAIL: 'disko' })
    const error = await failureOf(rig.installer.run(rig.given('disko')))
    expect(error.code).toBe('vendor')
    expect(error.message).toBe(
      'The phase disko of installing NixOS on backend (192.0.2.7) failed with exit code 3: ### disko; error: the disk is in use',
    )
    expect(error.hint).toContain('bun scripts/provision.ts apply')
  })

  for (const phase of INSTALL_PHASES)
    test(`${phase} that hangs is ended at its deadline with everything that it started`, async () => {
      const rig = openRig({ HANG: phase })
      const error = await failureOf(rig.installer.run(rig.given(phase)))
      expect(error.code).toBe('timeout')
      expect(error.message).toContain(
        `The phase ${phase} of installing NixOS on backend (192.0.2.7) did not end within 0.7 seconds`,
      )
      expect(error.hint).toContain('bun scripts/provision.ts apply')
      expect(rig.pids().length).toBeGreaterThanOrEqual(3)
      await until('all that it started has ended', () => !rig.pids().some(isAlive))
      expect(rig.kept()).toEqual([])
    })

  test('that does not obey is killed', async () => {
    const rig = openRig({ HANG: 'disko', STUBBORN: 'yes' })
    const error = await failureOf(rig.installer.run(rig.given('disko')))
    expect(error.code).toBe('timeout')
    await until('all that it started has ended', () => !rig.pids().some(isAlive))
  })

  test('that is interrupted ends at once', async () => {
    const rig = openRig({ HANG: 'install' })
    const running = failureOf(rig.installer.run(rig.given('install')))
    await until('it hangs', () => rig.pids().length >= 3)
    rig.interrupt()
    expect((await running).code).toBe('cancelled')
    await until('all that it started has ended', () => !rig.pids().some(isAlive))
    expect(rig.kept()).toEqual([])
  })

  test('says beforehand what is not installed here', async () => {
    const rig = openRig({}, ['nix', 'nixos-anywhere'])
    expect(await rig.installer.look()).toMatchObject({
      state: 'missing',
      why: 'NixOS is installed from this machine, and nixos-anywhere, nix are not installed here.',
    })
    expect((await failureOf(rig.installer.run(rig.given('kexec')))).code).toBe('config')
  })
})
