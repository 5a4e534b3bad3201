// Prints, as one binary FileDescriptorSet, what the pinned poold says on the wire, to who
// trades and to its auctioneer. The regtest suite holds our protos against it.
package main

import (
	"log"
	"os"

	"github.com/lightninglabs/pool/auctioneerrpc"
	"github.com/lightninglabs/pool/poolrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	set := &descriptorpb.FileDescriptorSet{}

	for _, file := range []protoreflect.FileDescriptor{
		auctioneerrpc.File_auctioneer_proto,
		poolrpc.File_trader_proto,
	} {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}

	encoded, err := proto.Marshal(set)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(encoded); err != nil {
		log.Fatal(err)
	}
}
