/**
 * Stands in for `nixos-anywhere` in a rehearsal: takes its flags, reads the extra files as it would, and tells the sandbox which phase the
 * machine has gone through. A program of its own, so that what starts, watches and ends the real one is what gets rehearsed.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { argv, exit, stderr, stdout } from 'node:process'

const wordAfter = (name: string): string => argv[argv.indexOf(name) + 1] ?? ''
const has = (name: string): boolean => argv.includes(name)

const filesBelow = (root: string, path = ''): Record<string, string> =>
  Object.assign(
    {},
    ...readdirSync(join(root, path)).map(name => {
      const inner = path === '' ? name : `${path}/${name}`
      return statSync(join(root, inner)).isDirectory()
        ? filesBelow(root, inner)
        : { [inner]: readFileSync(join(root, inner), 'utf8') }
    }),
  )

const STEPS: Readonly<Record<string, string>> = {
  kexec: 'Switching system into kexec',
  disko: 'Formatting hard drive with disko',
  install: 'Installing NixOS',
  reboot: 'Rebooting',
}

const run = async (): Promise<number> => {
  const [, , sandbox = ''] = argv
  const phase = wordAfter('--phases')
  const address = wordAfter('--target-host').replace(/^root@/, '')
  stdout.write(`### ${STEPS[phase] ?? phase} (sandbox) ###\n`)
  const files = has('--extra-files') ? filesBelow(wordAfter('--extra-files')) : {}
  const answer = await fetch(new URL('/_sandbox/nixos-anywhere', sandbox), {
    method: 'POST',
    body: JSON.stringify({ address, phase, files }),
  })
  if (answer.ok) return 0
  stderr.write(`${await answer.text()}\n`)
  return 1
}

if (import.meta.main) exit(await run())
