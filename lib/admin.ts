/** Who sits at this machine and from which addresses: what `allow-me` lets in. */

import { describeHost } from './compose.ts'
import { LandfallError } from './errors.ts'
import type { Opened } from './script.ts'
import type { Deps } from './steps/deps.ts'

/** @throws LandfallError refused when config.json lets nobody in, network when no public address can be found out */
export async function adminOf({
  composition,
  estate,
}: Pick<Opened, 'composition' | 'estate'>): Promise<NonNullable<Deps['admin']>> {
  if (estate.adminAddresses?.length === 0)
    throw new LandfallError(
      'refused',
      'config.json closes the panels to every address: its list firewall.admin_addresses is empty.',
      {
        hint: 'Reach the panels by their names, or list your address there: "firewall": {"admin_addresses": ["203.0.113.7"]}',
      },
    )
  const { ipv4, ipv6 } = await composition.deps.outside.findOwnAddresses()
  const addresses = [ipv4, ipv6].filter(address => address !== undefined)
  if (addresses.length > 0) return { who: describeHost().who, addresses }
  throw new LandfallError('network', 'The public address of this machine could not be found out.', {
    hint: 'List it yourself in config.json: "firewall": {"admin_addresses": ["203.0.113.7"]}',
  })
}
