/** `.env` files as they lie on disk: read with dotenv, written so that dotenv reads the same, with a mark where a value is missing. */

import { renderEnv } from '../providers/dokploy/dotenv.ts'
import type { EnvSet } from '../providers/ports/dokploy-apps.ts'

/** Stands before a variable whose value has to be filled in by a person. A comment, so that no tool takes it for an empty value. */
export const UNFILLED = '#FILL-IN '

/** Names of the variables that nobody filled in yet. */
export const unfilledIn = (text: string): readonly string[] =>
  text.split('\n').flatMap(line => (line.startsWith(UNFILLED) ? [line.slice(UNFILLED.length).split('=')[0]?.trim() ?? ''] : []))

/** @throws LandfallError config for a value that dotenv cannot give back byte for byte */
export const renderEnvFile = (env: EnvSet, missing: readonly string[]): string =>
  `${renderEnv(env)}${missing.map(name => `${UNFILLED}${name}=\n`).join('')}`
