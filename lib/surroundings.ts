/** What decides about this process before its first line runs, and must not be somebody else's: files of the directory, and switches. */

import { LandfallError } from './errors.ts'

export interface Surroundings {
  /** The directory that Bun read its settings from. */
  readonly directory: string
  /** Landfall's own directory. */
  readonly home: string
  /** Names of the files in `directory`. */
  readonly files: readonly string[]
  /** Bun's own flags (`process.execArgv`). */
  readonly flags: readonly string[]
  readonly variables: Readonly<Record<string, string | undefined>>
}

/** Read by Bun from the directory it is started in: they run code, redirect imports, or set variables (tried with Bun 1.4.5). */
const isSetting = (name: string): boolean =>
  /^(?:bunfig\.toml|[jt]sconfig\.json|\.env(?:\.(?:development|production|test))?(?:\.local)?)$/.test(name)

/** What the launcher starts Bun with; then nothing of the directory was read. */
const SHIELD = [/^--config=/, /^--no-env-file$/, /^--tsconfig-override=/]
const isShielded = (flags: readonly string[]): boolean => SHIELD.every(part => flags.some(flag => part.test(flag)))

/** @throws LandfallError refused, before any token is used */
export function checkSurroundings({ directory, home, files, flags, variables }: Surroundings): void {
  const verbose = variables.BUN_CONFIG_VERBOSE_FETCH ?? ''
  if (!['', '0', 'false'].includes(verbose))
    throw new LandfallError('refused', 'BUN_CONFIG_VERBOSE_FETCH makes Bun print every request, with the token in it.', {
      hint: 'Take it away, then run the same command again: unset BUN_CONFIG_VERBOSE_FETCH',
    })
  if (variables.NODE_TLS_REJECT_UNAUTHORIZED === '0')
    throw new LandfallError('refused', 'NODE_TLS_REJECT_UNAUTHORIZED=0 lets anybody in between take the tokens.', {
      hint: 'Take it away: unset NODE_TLS_REJECT_UNAUTHORIZED  (a certificate authority of your own goes into NODE_EXTRA_CA_CERTS)',
    })
  const foreign = files.filter(isSetting).sort()
  if (directory === home || foreign.length === 0 || isShielded(flags)) return
  throw new LandfallError('refused', `Bun has read ${foreign.join(' and ')} of this directory, which is not Landfall's own.`, {
    hint: `Start it so that nothing of a directory is read: ${home}/bin/landfall setup …  (or from ${home})`,
  })
}
