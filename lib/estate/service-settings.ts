/** The service's settings as they lie on its server: two files that systemd reads (systemd.exec, "EnvironmentFile="). Pure. */

import { createHash } from 'node:crypto'
import { LandfallError } from '../errors.ts'
import type { ServiceSpec } from './service.ts'

export interface ServiceSettings {
  /** For the service and for Caddy. */
  readonly settings: string
  /** The service's own variables. */
  readonly variables: string
  readonly hash: string
}

const quote = (value: string): string => `"${value.replace(/["\\`$]/g, '\\$&')}"`
const line = ([name, value]: readonly [string, string]): string => `${name}=${quote(value)}\n`

/** @throws LandfallError config for a variable that systemd cannot be given */
export function renderServiceSettings(spec: ServiceSpec, variables: readonly (readonly [string, string])[]): ServiceSettings {
  const wrong = variables.find(([name, value]) => /[\n\r\0]/.test(value) || name.startsWith('LANDFALL_'))
  if (wrong)
    throw new LandfallError(
      'config',
      wrong[0].startsWith('LANDFALL_')
        ? `${spec.envFile} sets ${wrong[0]}, and names that begin with LANDFALL_ are Landfall's own.`
        : `The value of ${wrong[0]} in ${spec.envFile} has a line break, which the service cannot be given.`,
      { hint: 'Rename it, or encode the value (base64, for example) and decode it in the application.' },
    )
  const settings = [
    ['LANDFALL_REPOSITORY', spec.repository],
    ['LANDFALL_BRANCH', spec.branch],
    ['LANDFALL_PROFILE', spec.profile],
    ['LANDFALL_DOMAIN', spec.host],
    ['LANDFALL_PORT', String(spec.port)],
    ['LANDFALL_HEALTH', spec.health],
  ] as const
  const texts = { settings: settings.map(line).join(''), variables: variables.map(line).join('') }
  const hash = createHash('sha256').update(`${texts.settings}\0${texts.variables}`).digest('hex').slice(0, 40)
  return { ...texts, hash }
}
