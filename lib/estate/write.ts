/** The config.json that a person's answers make. */

import { LandfallError } from '../errors.ts'
import { parseConfig } from './load.ts'
import type { Config } from './schema.ts'

/** What the guided tour asks. Everything that is left out is left to the defaults. */
export interface Answers {
  readonly project?: string
  readonly locations: readonly string[]
  /** By role; each makes the Dokploy server `<role>-dokploy`. Several types are in order of preference. */
  readonly serverTypes: Readonly<Record<string, string | readonly string[]>>
  readonly imageBuildType?: string
  readonly image?: string
  readonly domain?: string
  /** By role; what stands before the domain. */
  readonly adminSubdomains?: Readonly<Record<string, string>>
  readonly adminAddresses?: readonly string[]
  readonly publicKeys?: readonly string[]
  readonly adminEmail?: string
  readonly dokployVersion?: string
  readonly monthlyCap?: number
}

const oneOrMore = (values: string | readonly string[]): string | string[] => {
  if (typeof values === 'string') return values
  const [first, ...rest] = values
  return first !== undefined && rest.length === 0 ? first : [...values]
}

const dnsFrom = ({ domain, adminSubdomains }: Answers): Record<string, string> => ({
  ...(domain === undefined ? {} : { domain }),
  ...Object.fromEntries(
    Object.entries(adminSubdomains ?? {}).map(([role, name]) => [
      role === 'prod' ? 'admin_subdomain' : `${role}_admin_subdomain`,
      name,
    ]),
  ),
})

const dokployFrom = ({ dokployVersion, adminEmail }: Answers): Record<string, string> => ({
  ...(dokployVersion === undefined ? {} : { version: dokployVersion }),
  ...(adminEmail === undefined ? {} : { admin_email: adminEmail }),
})

/** Only groups with something in them. */
const group = <T extends object>(name: string, content: T): Record<string, T> =>
  Object.keys(content).length > 0 ? { [name]: content } : {}

const serverTypesFrom = ({ serverTypes, imageBuildType }: Answers): Record<string, string | string[]> => ({
  ...Object.fromEntries(Object.entries(serverTypes).map(([role, types]) => [role, oneOrMore(types)])),
  ...(imageBuildType === undefined ? {} : { packer_build: imageBuildType }),
})

/** `config` as the text of a file: two spaces, keys in their order, a line break at the end. `parseConfig` gives the same back. */
export const renderConfigFile = (config: Config): string => `${JSON.stringify(config, null, 2)}\n`

/**
 * The text of the config.json that `answers` make.
 * @throws LandfallError config when the answers do not make a valid estate
 */
export const renderConfig = (answers: Answers): string => {
  if (answers.locations.length === 0)
    throw new LandfallError('config', 'The servers need a location.', { hint: 'Answer with --location NAME.' })
  const content = {
    ...(answers.project === undefined ? {} : { project: answers.project }),
    hetzner: {
      location: oneOrMore(answers.locations),
      server_types: serverTypesFrom(answers),
      ...(answers.image === undefined ? {} : { image: answers.image }),
    },
    ...group('dns', dnsFrom(answers)),
    ...group('firewall', answers.adminAddresses === undefined ? {} : { admin_addresses: answers.adminAddresses }),
    ...group('ssh', answers.publicKeys === undefined ? {} : { public_keys: answers.publicKeys }),
    ...group('dokploy', dokployFrom(answers)),
    ...group('cost', answers.monthlyCap === undefined ? {} : { monthly_cap: answers.monthlyCap }),
  }
  const text = `${JSON.stringify(content, null, 2)}\n`
  parseConfig(text, 'The new config.json')
  return text
}
