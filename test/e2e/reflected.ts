import { BinaryReader } from "@bufbuild/protobuf/wire";

const REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/** Full paths of every method of every service that a server itself tells of, reflection's own included; `ask` makes one call. */
export async function reflectedMethods(ask: (path: string, message: Buffer) => Promise<Buffer[]>): Promise<string[]> {
  const field = (number: number, text: string) => Buffer.concat([Buffer.from([(number << 3) | 2, text.length]), Buffer.from(text)]);
  const [list] = await ask(REFLECTION, field(7, "*"));
  const services = fieldsOf(list!, 6)
    .flatMap((one) => fieldsOf(one, 1))
    .flatMap((one) => fieldsOf(one, 1))
    .map(String);
  if (services.length < 2) throw new Error(`the server tells of ${services.join()}`);
  const methods: string[] = [];
  for (const service of services) {
    const [described] = await ask(REFLECTION, field(4, service));
    for (const file of fieldsOf(described!, 4).flatMap((one) => fieldsOf(one, 1))) {
      const inPackage = String(fieldsOf(file, 2)[0] ?? "");
      for (const one of fieldsOf(file, 6)) {
        if (`${inPackage}.${String(fieldsOf(one, 1)[0])}` !== service) continue;
        methods.push(...fieldsOf(one, 2).map((method) => `/${service}/${String(fieldsOf(method, 1)[0])}`));
      }
    }
  }
  return [...methods, REFLECTION, REFLECTION.replaceAll(".v1.", ".v1alpha.")];
}

/** The length-delimited fields of a message with this number. */
function fieldsOf(message: Uint8Array, number: number): Buffer[] {
  const reader = new BinaryReader(message);
  const found: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === number && wireType === 2) found.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType, field);
  }
  return found;
}
