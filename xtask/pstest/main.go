// A Pub/Sub on loopback: Google's own fake for tests, for machines without the emulator.
//
// Usage: pstest ADDRESS [ANYTHING]; what comes after the address only marks the process.
package main

import (
	"log"
	"net"
	"os"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/grpc"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	// The fake's own server refuses what is over 4 MiB; the service takes messages of 10 MB.
	server := grpc.NewServer(grpc.MaxRecvMsgSize(10<<20 + 1<<16))
	fake := &pstest.NewServer().GServer
	pubsubpb.RegisterPublisherServer(server, fake)
	pubsubpb.RegisterSubscriberServer(server, fake)
	pubsubpb.RegisterSchemaServiceServer(server, fake)
	log.Fatal(server.Serve(listener))
}
