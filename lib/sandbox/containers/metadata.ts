/**
 * What a machine reads at the metadata address: Hetzner's own paths, and the same data once more in the form of cloud-init's NoCloud
 * datasource, because the vendor's asks a firmware that a container does not have. Pure; the cable decides whose data they are.
 */

export interface MetadataServer {
  readonly id: string
  readonly name: string
  readonly ipv4?: string
  readonly userData?: string
  readonly sshKeys: readonly string[]
  /** What the first boot's cloud-init shall fail with: the time zone that it is told to set. */
  readonly complaint?: string | undefined
}

/** Undefined for a path that the vendor does not have. */
export const answerMetadata = (server: MetadataServer, path: string): string | undefined =>
  Object.hasOwn(ANSWERS, path) ? ANSWERS[path]?.(server) : undefined

const ANSWERS: Readonly<Record<string, (server: MetadataServer) => string>> = {
  '/hetzner/v1/metadata': server =>
    yaml({
      'availability-zone': 'fsn1-dc14',
      hostname: server.name,
      'instance-id': Number(server.id),
      'public-ipv4': server.ipv4 ?? '',
      'public-keys': server.sshKeys,
      region: 'eu-central',
    }),
  '/hetzner/v1/metadata/availability-zone': () => 'fsn1-dc14',
  '/hetzner/v1/metadata/hostname': server => server.name,
  '/hetzner/v1/metadata/instance-id': server => server.id,
  '/hetzner/v1/metadata/public-ipv4': server => server.ipv4 ?? '',
  '/hetzner/v1/metadata/public-keys': server => JSON.stringify(server.sshKeys),
  '/hetzner/v1/metadata/region': () => 'eu-central',
  '/hetzner/v1/userdata': server => server.userData ?? '',
  '/nocloud/meta-data': server =>
    yaml({ 'instance-id': server.id, 'local-hostname': server.name, 'public-keys': server.sshKeys }),
  '/nocloud/user-data': server => server.userData ?? '',
  // A zone that does not exist: the module fails, and names it in its own words.
  '/nocloud/vendor-data': ({ complaint }) => (complaint === undefined ? '' : `#cloud-config\n${yaml({ timezone: complaint })}`),
}

/** JSON values are YAML too. */
const yaml = (values: Readonly<Record<string, unknown>>): string =>
  Object.entries(values)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
    .join('')
