/** A server for S3 in a process of its own, so that its time is not the client's. Ends when nobody listens to it. */
import * as S3 from "../packages/store/test/s3.ts"

const server = await S3.start()
process.on("disconnect", () => void server.close())
process.send!(server.endpoint)
